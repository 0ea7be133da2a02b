"""The step of Box2D as the paper's sparse tasks took it, in float32."""
