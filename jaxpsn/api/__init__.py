"""What ``import jaxpsn`` offers: training, loading, evaluating and comparing as functions, exported by the package."""
