# What the catalogue promises, for each of its entries.

run "catalogue" {
  command = plan

  assert {
    condition     = length(output.apps) == length(local.apps)
    error_message = "Not every entry has an app of its own."
  }
  assert {
    condition     = alltrue([for name, order in iexec_apporder.partner : order.appprice * 2 <= iexec_apporder.public[name].appprice])
    error_message = "The partner pays more than half of the price."
  }
  assert {
    condition     = alltrue([for order in iexec_apporder.partner : order.requesterrestrict == var.partner])
    error_message = "Somebody else can have the partner's price."
  }
}
