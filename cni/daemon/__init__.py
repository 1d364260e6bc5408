"""`dpukit-node`: performs CNI calls for the thin clients of one node, with everything imported and warm."""
