//! Scenarios: one a file, named as a sentence. Run by `tests/run`, which starts the services they need.

mod support;

mod a_broker_that_is_full_wrong_or_silent_is_named;
mod a_case_over_the_change_of_the_minute_has_one_decision;
mod a_night_ct_is_read_in_chemnitz_and_reported_back;
mod both_carriers_bring_each_envelope_to_its_lane_until_it_is_done;
mod nights_weekends_and_holidays_are_read_in_chemnitz_and_days_on_site;
mod rabbitmq_may_die_at_any_moment_and_no_envelope_is_lost;
mod the_tools_of_the_scenarios_do_what_they_say;
