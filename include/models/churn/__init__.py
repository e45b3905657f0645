"""The churn model, the worked example of a second model: which customers of a phone company leave."""
