"""The mutations, by subject."""

from tests.regressions.mutation import Mutation
from tests.regressions.table import (
    access,
    agents,
    audit,
    constraints,
    data,
    delivery,
    guards,
    intake,
    labels,
    late,
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
    *constraints.MUTATIONS,
    *guards.MUTATIONS,
    *late.MUTATIONS,
    *pace.MUTATIONS,
    *sweep.MUTATIONS,
    *passes.MUTATIONS,
    *reports.MUTATIONS,
    *presence.MUTATIONS,
    *agents.MUTATIONS,
    *security.MUTATIONS,
    *labels.MUTATIONS,
    *access.MUTATIONS,
    *audit.MUTATIONS,
    *why.MUTATIONS,
)
