//! Scenarios: one a file, named as a sentence. Run by `tests/run`, which starts the services they need.

mod support;

mod a_broker_that_is_full_wrong_or_silent_is_named;
mod a_night_ct_is_read_in_chemnitz_and_reported_back;
mod both_carriers_bring_each_envelope_to_its_lane_until_it_is_done;
mod images_go_on_while_the_broker_and_the_database_are_killed;
mod killed_sixty_times_it_loses_nothing_it_acknowledged;
mod rabbitmq_may_die_at_any_moment_and_no_envelope_is_lost;
mod the_tools_of_the_scenarios_do_what_they_say;
