# One app and one order, on the local network: `iexecform localnet` in one terminal, `iexecform apply` in another.

iexecform {
  project = "quickstart"
}

variable "price" {
  type        = string
  default     = "0.5 RLC"
  description = "Price of one run."
}

provider "iexec" {
  chain = "localnet"
}

data "iexec_chain" "here" {}

data "oci_image" "hello" {
  reference = "${data.iexec_chain.here.registry}/iexecform/hello-world:1.0"
}

resource "iexec_app" "hello" {
  name      = "hello-world"
  multiaddr = data.oci_image.hello.reference
  checksum  = data.oci_image.hello.checksum
}

resource "iexec_apporder" "public" {
  app      = iexec_app.hello.address
  appprice = var.price
  volume   = 1000
}

output "app" {
  value       = iexec_app.hello.address
  description = "Address of the app."
}

output "order_hash" {
  value       = iexec_apporder.public.order_hash
  description = "Hash of the order that sells it."
}
