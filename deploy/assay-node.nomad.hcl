# A node of Assay on each client of a Nomad cluster: sandboxes of that machine for servers on others.
#
#   nomad job run assay-node.nomad.hcl
#
# Assay is on each client (/opt/assay), with certificates in /etc/assay/nodes (docs/nodes.md), and the
# clients allow raw_exec, which starts nothing but this: plugin "raw_exec" { config { enabled = true } }.
# Servers find the nodes by their addresses, or by Consul's DNS (ASSAY_NODES_DNS).

job "assay-node" {
  type        = "system"
  datacenters = ["*"]

  # One client after the other: a node that starts again goes on with the sandboxes that are there.
  update {
    max_parallel = 1
  }

  group "node" {
    restart {
      attempts = 10
      interval = "10m"
      delay    = "5s"
      mode     = "delay"
    }

    network {
      port "link" {
        static = 7300
      }
    }

    task "node" {
      driver = "raw_exec"
      user   = "root"

      config {
        command = "/opt/assay/bin/assay"
        args    = ["node", "--listen", "0.0.0.0:7300", "--log-format", "json"]
      }

      # SIGTERM ends the node and leaves its sandboxes, for the next one to go on with.
      kill_signal  = "SIGTERM"
      kill_timeout = "30s"

      # Of the node's own process. Sandboxes are beside it, in groups of their own: leave them the rest
      # of the machine, in the client's configuration (client { reserved { … } }).
      resources {
        cpu    = 200
        memory = 512
      }
    }
  }
}
