# All that a server of Assay with `--driver nomad` may do in Nomad, and no more:
#
#   nomad namespace apply sandboxes
#   nomad acl policy apply assay assay-nomad-policy.hcl
#   nomad acl token create -name assay -policy assay        # its Secret ID is NOMAD_TOKEN
#
# A namespace of its own (NOMAD_NAMESPACE=sandboxes), for whoever may submit jobs in it is root on the
# clients that take them.

namespace "sandboxes" {
  capabilities = [
    "submit-job",      # a job for each batch of sandboxes, and its end
    "read-job",        # how its allocations are
    "list-jobs",       # which of them are there, after a start
    "alloc-exec",      # the stream to each agent
    "alloc-lifecycle", # the end of one sandbox of a batch: a signal to its agent
  ]
}

# Which version and how many clients there are: `assay driver list`, `assay doctor`.
agent {
  policy = "read"
}

node {
  policy = "read"
}

# With task_driver = "podman": whether the scheduler lets sandboxes have more memory than it counts.
operator {
  policy = "read"
}
