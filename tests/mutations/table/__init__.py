"""The mutations, by subject."""

from tests.mutations.mutation import Mutation
from tests.mutations.table import (
    access,
    agents,
    audit,
    data,
    delivery,
    guards,
    intake,
    pace,
    passes,
    presence,
    reports,
    security,
    sweep,
    why,
)

MUTATIONS: tuple[Mutation, ...] = (
    *data.MUTATIONS,
    *intake.MUTATIONS,
    *delivery.MUTATIONS,
    *guards.MUTATIONS,
    *pace.MUTATIONS,
    *sweep.MUTATIONS,
    *passes.MUTATIONS,
    *reports.MUTATIONS,
    *presence.MUTATIONS,
    *agents.MUTATIONS,
    *security.MUTATIONS,
    *access.MUTATIONS,
    *audit.MUTATIONS,
    *why.MUTATIONS,
)
