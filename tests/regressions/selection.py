"""All mutations."""

from tests.regressions import (
    access_mutations,
    agent_mutations,
    client_mutations,
    delivery_mutations,
    engine_mutations,
    feed_mutations,
    fleet_mutations,
    release_mutations,
    report_mutations,
    rule_mutations,
    session_mutations,
    table_mutations,
    webhook_mutations,
)

MUTATIONS = (
    *table_mutations.MUTATIONS,
    *delivery_mutations.MUTATIONS,
    *engine_mutations.MUTATIONS,
    *report_mutations.MUTATIONS,
    *release_mutations.MUTATIONS,
    *rule_mutations.MUTATIONS,
    *feed_mutations.MUTATIONS,
    *access_mutations.MUTATIONS,
    *session_mutations.MUTATIONS,
    *agent_mutations.MUTATIONS,
    *client_mutations.MUTATIONS,
    *fleet_mutations.MUTATIONS,
    *webhook_mutations.MUTATIONS,
)
