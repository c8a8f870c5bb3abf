"""Any timm network behind one adapter."""
