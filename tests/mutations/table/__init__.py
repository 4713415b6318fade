"""The mutations, by subject."""

from tests.mutations.mutation import Mutation
from tests.mutations.table import agents, audit, data, delivery, intake, presence, reports, security, sweep

MUTATIONS: tuple[Mutation, ...] = (
    *data.MUTATIONS,
    *intake.MUTATIONS,
    *delivery.MUTATIONS,
    *sweep.MUTATIONS,
    *reports.MUTATIONS,
    *presence.MUTATIONS,
    *agents.MUTATIONS,
    *security.MUTATIONS,
    *audit.MUTATIONS,
)
