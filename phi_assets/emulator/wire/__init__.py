"""The shape of requests and answers on every plane of the service."""
