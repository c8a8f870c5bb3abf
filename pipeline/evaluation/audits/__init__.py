"""Audits: is the model right for the right reasons? Tables in, findings out, each with a verdict in words.

finding       what every audit gives: a verdict, whether it is an alarm, the metrics behind it
permutation   p-values by shuffling patients, and many AUROCs at once
probes, refits
              linear probes, fitted to the labels and to shuffled ones
evidence      the tables that audits look at
shortcut      does acquisition tell the label, does the model follow it, is the body needed at all?
chance        do shuffled labels reach the test set?
by_class      the same with more than two classes, or several labels a scan
simple        what a blurred volume or a histogram reaches, and what the model adds
label_quality which labels stand against a confident prediction
stages        where in the network the signal appears, and whether the head uses it
stability     do harmless changes of the scan change the answer?
auditing      all of them
"""
