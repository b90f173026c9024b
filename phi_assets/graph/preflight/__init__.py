"""The look ahead, before anything that costs money."""
