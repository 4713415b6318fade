"""An agent for the containers of one machine."""
