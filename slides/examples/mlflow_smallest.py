"""The smallest script with an MLflow record: a slide shows it, a test runs it."""

import math

import matplotlib.pyplot as plt
import mlflow

mlflow.set_experiment("smallest")

with mlflow.start_run():
    mlflow.log_param("lr", 0.1)
    losses = [math.exp(-0.1 * epoch) for epoch in range(20)]
    for epoch, loss in enumerate(losses, start=1):
        mlflow.log_metric("loss", loss, step=epoch)
    figure, axis = plt.subplots()
    axis.plot(losses)
    mlflow.log_figure(figure, "loss.png")
