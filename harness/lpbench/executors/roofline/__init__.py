"""The roofline executor: carries plans out on a virtual clock."""
