# Data that one app alone may use, and a workerpool to run it on: all three are entries of iExec's registries, and their
# addresses are known before any of them is deployed.

iexecform {
  project = "data-and-workers"
}

provider "iexec" {
  chain = "localnet"
}

resource "iexec_app" "study" {
  name      = "study"
  multiaddr = "127.0.0.1:5000/iexecform/hello-world:1.0"
}

# Where the encrypted file is, and its SHA-256 digest. Its key isn't part of it.
resource "iexec_dataset" "genome" {
  name      = "genome"
  multiaddr = "https://example.com/genome.enc"
  checksum  = "0x${sha256("what is encrypted")}" # of a file: "0x${filesha256("genome.enc")}"
}

resource "iexec_datasetorder" "study" {
  dataset      = iexec_dataset.genome.address
  datasetprice = "2 RLC"
  volume       = 100
  apprestrict  = iexec_app.study.address # no other app may read it
}

resource "iexec_workerpool" "here" {
  description            = "here"
  scheduler_reward_ratio = 5 # percent of the reward; it can be changed at any time
}

output "dataset" {
  value       = iexec_dataset.genome.address
  description = "Address of the dataset."
}

output "workerpool" {
  value       = iexec_workerpool.here.address
  description = "Address of the workerpool."
}
