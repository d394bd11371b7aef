# A catalogue: one map, an app for each entry, and two orders for each app. A change of one entry touches what is made from
# that entry, and nothing else.

iexecform {
  project = "many-apps"
}

provider "iexec" {
  chain = "localnet"
}

variable "partner" {
  type        = string
  default     = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
  description = "Requester who gets every app for half the price."
}

locals {
  image = "127.0.0.1:5000/iexecform/hello-world:1.0"

  apps = {
    blur-faces = { price = "0.2 RLC", volume = 500 }
    nilearn    = { price = "0.5 RLC", volume = 1000 }
    vanity-eth = { price = "10 nRLC", volume = 100 }
  }
}

resource "iexec_app" "catalogue" {
  for_each = local.apps

  name      = each.key
  multiaddr = local.image # the digest is looked up
}

resource "iexec_apporder" "public" {
  for_each = local.apps

  app      = iexec_app.catalogue[each.key].address
  appprice = each.value.price
  volume   = each.value.volume
}

resource "iexec_apporder" "partner" {
  for_each = local.apps

  app               = iexec_app.catalogue[each.key].address
  appprice          = floor(nrlc(each.value.price) / 2)
  volume            = each.value.volume
  requesterrestrict = var.partner
}

output "apps" {
  value       = { for name, app in iexec_app.catalogue : name => app.address }
  description = "Address of each app."
}
