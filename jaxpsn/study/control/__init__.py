"""The study of control: one task, arms one after the other, vmapped seeds."""
