"""The OpenAPI description: an operation for each row of the route table, and its document."""
