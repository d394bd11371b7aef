run "only_the_study_reads_the_genome" {
  assert {
    condition     = iexec_datasetorder.study.apprestrict == iexec_app.study.address && iexec_datasetorder.study.status == "open"
    error_message = "Another app may read the data."
  }
  assert {
    condition     = output.dataset == iexec_dataset.genome.address
    error_message = "The output is of something else."
  }
}

run "a_cheaper_scheduler_is_the_same_workerpool" {
  command = plan
  plan_options {
    target = [iexec_workerpool.here]
  }
  assert {
    condition     = iexec_workerpool.here.address == run.only_the_study_reads_the_genome.workerpool
    error_message = "The workerpool was replaced."
  }
}
