"""Any timm image model under the contract of the other networks."""
