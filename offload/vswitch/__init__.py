"""The only code that speaks to Open vSwitch: its database, its flow tables, its control socket."""
