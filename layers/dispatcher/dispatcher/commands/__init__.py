"""A command's life: submission, delivery, reports, deadlines, explanation, loss check."""
