"""Online endpoints: deployments are processes that really load their model and answer for it."""
