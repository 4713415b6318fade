"""The fleet: agents, their keys, their enrolment, their connections and presence."""
