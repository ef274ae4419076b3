import pandas

scores = pandas.DataFrame({"learner": ["Ada", "Grace"]})
print(scores["points"])
