"""The processes of a deployment: started, probed, watched and ended."""
