"""Tables and figures beside the curve."""
