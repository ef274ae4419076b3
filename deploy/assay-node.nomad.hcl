# A node of Assay on each client of a Nomad cluster: sandboxes of that machine for servers on others.
#
#   nomad job run assay-node.nomad.hcl
#
# Assay is on each client (/opt/assay), with certificates in /etc/assay/nodes (docs/nodes.md), and the
# clients allow raw_exec, which starts nothing but this: plugin "raw_exec" { config { enabled = true } }.
# Servers find the nodes by their addresses, or by Consul's DNS (ASSAY_NODES_DNS).

variable "assay" {
  type        = string
  default     = "/opt/assay/bin/assay"
  description = "The program, on each client."
}

variable "flags" {
  type        = list(string)
  default     = []
  description = "Of assay, before the word node: [\"--state\", \"/var/lib/assay\"], say."
}

variable "node_flags" {
  type        = list(string)
  default     = ["--log-format", "json"]
  description = "Of assay node, see docs/nodes.md."
}

variable "port" {
  type    = number
  default = 7300
}

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
        static = var.port
      }
    }

    task "node" {
      driver = "raw_exec"
      user   = "root"

      config {
        command = var.assay
        args = concat(
          var.flags,
          ["node", "--listen", "0.0.0.0:${var.port}", "--empty-seconds", "25"],
          var.node_flags,
        )
      }

      # SIGTERM: servers move idle sandboxes to other nodes, in the 25 seconds of above; then the node
      # ends, and leaves whoever runs something to the next one. So `nomad node drain` empties a client's
      # pool first. Longer needs more of a client, too: client { max_kill_timeout = "10m" }.
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
