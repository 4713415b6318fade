"""All mutations."""

from tests.regressions import (
    access_mutations,
    delivery_mutations,
    engine_mutations,
    release_mutations,
    report_mutations,
    rule_mutations,
    session_mutations,
    table_mutations,
)

MUTATIONS = (
    *table_mutations.MUTATIONS,
    *delivery_mutations.MUTATIONS,
    *engine_mutations.MUTATIONS,
    *report_mutations.MUTATIONS,
    *release_mutations.MUTATIONS,
    *rule_mutations.MUTATIONS,
    *access_mutations.MUTATIONS,
    *session_mutations.MUTATIONS,
)
