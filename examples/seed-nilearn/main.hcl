# The app of iExec's application-provider guide, in today's form. The guide's manual steps (look the digest up, edit
# iexec.json, deploy, init, sign and publish the order) are these two resources.

iexecform {
  project = "seed-nilearn"
}

variable "chain" {
  type        = string
  default     = "arbitrum-sepolia-testnet"
  description = "Chain to deploy to."
}

variable "rpc_url" {
  type        = string
  default     = null
  description = "JSON-RPC endpoint, instead of the chain's public one."
}

variable "market_url" {
  type        = string
  default     = null
  description = "Market, instead of the chain's."
}

variable "owner" {
  type        = string
  default     = "0x47d0Ab8d36836F54FD9587e65125Bbab04958310"
  description = "Wallet of the application provider: the guide's."
}

provider "iexec" {
  chain      = var.chain
  rpc_url    = var.rpc_url
  market_url = var.market_url

  wallet {
    address = var.owner
  }
}

resource "iexec_app" "nilearn" {
  name      = "Nilearn"
  multiaddr = "docker.io/iexechub/nilearn:1.0"

  # The digest that `docker pull` printed in the guide. Pinned, so that nothing has to be looked up; leave it out to have
  # the registry asked.
  checksum = "0xf8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6"
}

resource "iexec_apporder" "public" {
  app      = iexec_app.nilearn.address
  appprice = 0
  volume   = 1000000
}

output "app" {
  value       = iexec_app.nilearn.address
  description = "Address of the app."
}

output "order_hash" {
  value       = iexec_apporder.public.order_hash
  description = "Hash of the order that sells it."
}
