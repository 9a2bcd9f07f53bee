//! Runs the tests of this crate.

#![cfg(test)]

mod shared {
    #[test]
    fn shares_never_exceed_the_capacity() {
        interleavings::shared::shares_never_exceed_the_capacity();
    }

    #[test]
    fn the_last_release_is_noticed() {
        interleavings::shared::the_last_release_is_noticed();
    }

    #[test]
    fn principals_that_are_removed_are_counted_right() {
        interleavings::shared::principals_that_are_removed_are_counted_right();
    }

    #[test]
    fn the_first_requests_of_a_principal_share_one_burst() {
        interleavings::shared::the_first_requests_of_a_principal_share_one_burst();
    }

    #[test]
    fn a_fair_semaphore_keeps_no_entry_of_a_principal_that_has_left() {
        interleavings::shared::a_fair_semaphore_keeps_no_entry_of_a_principal_that_has_left();
    }
}

mod closing {
    #[test]
    fn nothing_is_admitted_after_a_close_that_found_the_store_empty() {
        interleavings::store::closing::nothing_is_admitted_after_a_close_that_found_the_store_empty(
        );
    }
}

mod coalescing {
    #[test]
    fn every_item_gets_its_response_once() {
        interleavings::store::coalescing::every_item_gets_its_response_once();
    }

    #[test]
    fn items_of_a_dropped_queue_are_served() {
        interleavings::store::coalescing::items_of_a_dropped_queue_are_served();
    }

    #[test]
    fn the_permit_of_a_request_is_released_before_its_response() {
        interleavings::store::coalescing::the_permit_of_a_request_is_released_before_its_response();
    }
}

mod servers {
    #[test]
    fn a_server_never_has_more_connections_than_slots() {
        interleavings::servers::a_server_never_has_more_connections_than_slots();
    }
}

mod connections {
    #[test]
    fn an_evicted_connection_is_woken_and_slots_are_counted_right() {
        interleavings::connections::an_evicted_connection_is_woken_and_slots_are_counted_right();
    }

    #[test]
    fn a_connection_may_wait_after_others_were_refused() {
        interleavings::connections::a_connection_may_wait_after_others_were_refused();
    }
}

mod updates {
    #[test]
    fn one_update_of_an_order_runs_at_a_time_and_leaves_no_entry() {
        interleavings::store::updates::one_update_of_an_order_runs_at_a_time_and_leaves_no_entry();
    }

    #[test]
    fn an_update_that_is_dropped_leaves_no_entry() {
        interleavings::store::updates::an_update_that_is_dropped_leaves_no_entry();
    }
}

mod pooling {
    #[test]
    fn a_server_never_has_more_connections_than_the_pool() {
        interleavings::store::pooling::a_server_never_has_more_connections_than_the_pool();
    }

    #[test]
    fn maintenance_loses_no_connection() {
        interleavings::store::pooling::maintenance_loses_no_connection();
    }

    #[test]
    fn maintenance_opens_no_connection_while_all_are_being_closed() {
        interleavings::store::pooling::maintenance_opens_no_connection_while_all_are_being_closed();
    }
}
