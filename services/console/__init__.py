"""console: what people see. Customers make keys and watch what they use; operators run the gateway."""
