"""What must be refused, class by class."""
