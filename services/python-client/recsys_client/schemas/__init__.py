"""Requests and answers of the HTTP interface, with their bounds; the OpenAPI document is made from them."""
