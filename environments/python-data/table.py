import pandas

scores = pandas.read_csv("scores.csv")
print(scores.groupby("course")["points"].agg(["count", "mean"]))
