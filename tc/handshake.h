/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a segment does to its handshake:
 *
 *	SYN        begins it; the same again is a retransmit; another number is another handshake
 *	SYN-ACK    from the server: the first ends SYN -> SYN-ACK, more are retransmits
 *	ACK        from the client, of the SYN-ACK: established
 *	RST        that answers the SYN: refused; later: reset
 *	the clock  WEIR_HANDSHAKE_TIMEOUT after the SYN: unanswered or unfinished
 *
 * Where only the client's half of the traffic passes (direct server return), an ACK right behind
 * the SYN's sequence number says that it was answered: established, without times. A SYN-ACK
 * whose SYN was not seen tells nothing. SYN with RST or FIN is believed by no stack.
 */
#ifndef WEIR_HANDSHAKE_H
#define WEIR_HANDSHAKE_H

#include "endpoint.h"
#include "event.h"
#include "inflight.h"
#include "listener.h"
#include "segment.h"

#define ACK_WINDOW (1u << 30) /* largest TCP window: an ACK farther off is of something else */

struct step { /* one segment meeting one handshake */
	struct weir_handshake *way;
	struct place at;
	__u64 now;
};

static __always_inline bool from_client(const struct step *step, const struct segment *s)
{
	return !(step->way->flags & WEIR_H_CLIENT) == s->ingress;
}

static __always_inline enum weir_role role_of(const struct weir_handshake *way)
{
	return way->flags & WEIR_H_CLIENT ? WEIR_CLIENT : WEIR_SERVER;
}

/* Behind the SYN, or behind its payload as far as the server took it (TCP Fast Open). */
static __always_inline bool follows_syn(const struct weir_handshake *way, __u32 number)
{
	return number - (way->client_isn + 1) <= way->syn_data;
}

static __always_inline bool follows_synack(const struct weir_handshake *way, __u32 number)
{
	return number - (way->server_isn + 1) < ACK_WINDOW;
}

static __always_inline void count_repeat(struct weir_handshake *way)
{
	if (way->retransmits != 0xff)
		way->retransmits++;
}

static __always_inline void count_given_up(const struct weir_handshake *way)
{
	struct weir_endpoint_stats *stats = stats_of(way->endpoint);

	endpoint_end(way->endpoint);
	if (!stats)
		return;
	if (way->state == WEIR_SYN_SEEN)
		count(&stats->unanswered);
	else
		count(&stats->unfinished);
}

static __always_inline void count_evicted(const struct weir_handshake *way, __u64 now)
{
	struct weir_endpoint_stats *stats;

	if (inflight_expired(way, now)) {
		count_given_up(way);
		return;
	}
	endpoint_end(way->endpoint);
	stats = stats_of(way->endpoint);
	if (stats)
		count(&stats->untracked);
}

static __always_inline void give_up(struct step *step)
{
	struct weir_handshake way = *step->way;

	if (inflight_retire(&step->at))
		count_given_up(&way);
}

/* ---- the clock ---- */

struct sweep {
	__u64 first;
	__u64 now;
};

static long sweep_set(__u32 index, struct sweep *sweep)
{
	struct step step = {.now = sweep->now};
	__u64 tags;

	step.at.set = (sweep->first + index) & (WEIR_HANDSHAKE_SETS - 1);
	tags = handshakes.tags[step.at.set];
	if (!tags)
		return 0;
	for (step.at.lane = 0; step.at.lane < WEIR_HANDSHAKE_WAYS; step.at.lane++) {
		step.at.tag = tag_in(tags, step.at.lane);
		step.way = inflight_way(&step.at);
		if (step.at.tag && inflight_expired(step.way, step.now))
			give_up(&step);
	}
	return 0;
}

/* Sweeps the sets that fell due since the last SYN, within reason; after a long silence every set
 * is due once. Of several CPUs at it one wins the right to these sets. */
static __always_inline void sweep(__u64 now)
{
	__u64 target = now >> WEIR_SWEEP_SHIFT, swept = *(volatile __u64 *)&handshakes.swept;
	struct sweep s = {.first = swept, .now = now};
	__u64 due = target - swept;

	if ((__s64)due <= 0)
		return;
	if (due > WEIR_HANDSHAKE_SETS) {
		due = WEIR_HANDSHAKE_SETS;
		s.first = target - due;
	}
	if (due > WEIR_SWEEP_BATCH)
		due = WEIR_SWEEP_BATCH;
	if (__sync_val_compare_and_swap(&handshakes.swept, swept, s.first + due) == swept)
		bpf_loop(due, sweep_set, &s, 0);
}

/* ---- SYN ---- */

static __always_inline void note_queues(struct weir_endpoint *e, const struct listener *l)
{
	e->accept_queue = l->accept_queue;
	e->syn_queue = l->syn_queue;
	e->queue_max = l->queue_max;
	if (l->accept_queue > e->accept_queue_peak)
		e->accept_queue_peak = l->accept_queue;
	if (l->syn_queue > e->syn_queue_peak)
		e->syn_queue_peak = l->syn_queue;
}

/* Returns whether the SYN is admitted or not for us to judge. */
static __always_inline bool judge_syn(struct __sk_buff *skb, const struct segment *s,
				      const struct step *step, struct weir_endpoint_stats *stats)
{
	struct weir_endpoint *e = endpoint_at(step->way->endpoint);
	struct listener l = {};

	if (!e || !listener_read(skb, s, &l, e->queue_max))
		return true;
	note_queues(e, &l);
	switch (l.verdict) {
	case WEIR_EVENT_ACCEPT_QUEUE_FULL: count(&stats->accept_queue_full); break;
	case WEIR_EVENT_SYN_QUEUE_FULL: count(&stats->syn_queue_full); break;
	case WEIR_EVENT_SYN_COOKIE: count(&stats->syn_cookies); break;
	default: return true;
	}
	report(s, step->way, l.verdict, step->now, 0, &l);
	return false;
}

static __always_inline void begin(const struct segment *s, struct step *step, __u32 slot)
{
	struct weir_handshake evicted;

	step->way = inflight_claim(&step->at, &evicted);
	if (!step->way)
		return;
	step->way->syn_ns = step->now;
	step->way->who = step->at.who;
	step->way->client_isn = s->seq;
	step->way->server_isn = 0;
	step->way->synack_us = 0;
	step->way->syn_data = s->data;
	step->way->endpoint = slot;
	step->way->state = WEIR_SYN_SEEN;
	step->way->flags = s->ingress ? 0 : WEIR_H_CLIENT;
	step->way->retransmits = 0;
	if (evicted.state)
		count_evicted(&evicted, step->now);
	endpoint_begin(slot);
}

/* A SYN from the other side while ours is unanswered: simultaneous open (RFC 9293, 3.5). */
static __always_inline void on_crossing_syn(const struct segment *s, struct weir_handshake *way)
{
	if (way->state != WEIR_SYN_SEEN || way->flags & WEIR_H_CROSSED)
		return;
	way->flags |= WEIR_H_CROSSED;
	way->server_isn = s->seq;
}

static __always_inline void on_new_syn(struct __sk_buff *skb, const struct segment *s,
				       struct step *step)
{
	enum weir_role role = s->ingress ? WEIR_SERVER : WEIR_CLIENT;
	__u32 slot = endpoint_for(role, s->ingress ? s->local_port : s->remote_port);
	struct weir_endpoint_stats *stats = stats_of(slot);
	struct weir_tc_counters *counters;

	if (!stats)
		return;
	if (!slot) {
		counters = program_counters();
		if (counters)
			counters->no_endpoint++;
	}
	count(&stats->syn);
	begin(s, step, slot);
	if (!step->way)
		count(&stats->untracked);
	else if (s->ingress)
		judge_syn(skb, s, step, stats);
	sweep(step->now);
}

static __always_inline void on_repeated_syn(struct __sk_buff *skb, const struct segment *s,
					    struct step *step)
{
	struct weir_endpoint_stats *stats = stats_of(step->way->endpoint);

	if (!stats)
		return;
	count(&stats->syn_retransmits);
	count_repeat(step->way);
	if (!s->ingress || judge_syn(skb, s, step, stats))
		report(s, step->way, WEIR_EVENT_SYN_REPEATED, step->now, 0, NULL);
}

static __always_inline void on_syn(struct __sk_buff *skb, const struct segment *s,
				   struct step *step)
{
	if (step->way && !from_client(step, s)) {
		on_crossing_syn(s, step->way);
		return;
	}
	if (step->way && step->way->client_isn == s->seq) {
		on_repeated_syn(skb, s, step);
		return;
	}
	if (step->way)
		give_up(step);
	on_new_syn(skb, s, step);
}

/* ---- the answers ---- */

static __always_inline void finish(const struct segment *s, struct step *step, enum weir_event kind)
{
	struct weir_handshake way = *step->way;
	struct weir_endpoint_stats *stats = stats_of(way.endpoint);
	__u32 ack_us = 0;

	if (!stats || !inflight_retire(&step->at))
		return;
	endpoint_end(way.endpoint);
	switch (kind) {
	case WEIR_EVENT_REFUSED: count(&stats->refused); break;
	case WEIR_EVENT_RESET: count(&stats->reset); break;
	default:
		count(&stats->established);
		if (way.state == WEIR_SYNACK_SEEN && !(way.flags & WEIR_H_CLIENT_ACKED)) {
			ack_us = (step->now - way.syn_ns) / 1000 - way.synack_us;
			latency_add(&stats->ack_latency, ack_us);
		}
	}
	report(s, &way, kind, step->now, ack_us, NULL);
}

/* The SYN was counted in slot 0: it moves along, with its repeats. */
static __always_inline void move_to_answered(struct weir_handshake *way, const struct segment *s)
{
	enum weir_role role = role_of(way);
	__u32 slot = endpoint_answered(role, role == WEIR_SERVER ? s->local_port : s->remote_port);
	struct weir_endpoint_stats *from = stats_of(0), *to = stats_of(slot);

	if (!slot || !from || !to)
		return;
	count(&to->syn);
	__sync_fetch_and_add(&from->syn, -1ull);
	__sync_fetch_and_add(&to->syn_retransmits, way->retransmits);
	__sync_fetch_and_add(&from->syn_retransmits, -(__u64)way->retransmits);
	endpoint_end(0);
	endpoint_begin(slot);
	way->endpoint = slot;
}

static __always_inline void on_first_synack(const struct segment *s, struct step *step)
{
	struct weir_handshake *way = step->way;
	struct weir_endpoint_stats *stats;

	if (!way->endpoint)
		move_to_answered(way, s);
	stats = stats_of(way->endpoint);
	if (!stats)
		return;
	way->synack_us = (step->now - way->syn_ns) / 1000;
	way->server_isn = s->seq;
	way->state = WEIR_SYNACK_SEEN;
	count(&stats->synack);
	latency_add(&stats->synack_latency, way->synack_us);
	if (way->flags & WEIR_H_CLIENT_ACKED)
		finish(s, step, WEIR_EVENT_ESTABLISHED);
}

/* SYN cookies give a repeated SYN-ACK another number: the last one counts. */
static __always_inline void on_repeated_synack(const struct segment *s, struct step *step)
{
	struct weir_endpoint_stats *stats = stats_of(step->way->endpoint);

	step->way->server_isn = s->seq;
	count_repeat(step->way);
	if (stats)
		count(&stats->synack_retransmits);
	report(s, step->way, WEIR_EVENT_SYNACK_REPEATED, step->now, 0, NULL);
}

/* In a simultaneous open both sides answer the other's SYN by a SYN-ACK, which is also the ACK. */
static __always_inline void on_clients_synack(const struct segment *s, struct step *step)
{
	struct weir_handshake *way = step->way;

	if (!(way->flags & WEIR_H_CROSSED) || s->ack != way->server_isn + 1)
		return;
	if (way->state == WEIR_SYNACK_SEEN)
		finish(s, step, WEIR_EVENT_ESTABLISHED);
	else
		way->flags |= WEIR_H_CLIENT_ACKED;
}

static __always_inline void on_synack(const struct segment *s, struct step *step)
{
	if (from_client(step, s))
		on_clients_synack(s, step);
	else if (!follows_syn(step->way, s->ack))
		return;
	else if (step->way->state == WEIR_SYN_SEEN)
		on_first_synack(s, step);
	else
		on_repeated_synack(s, step);
}

static __always_inline void on_ack(const struct segment *s, struct step *step)
{
	if (!from_client(step, s))
		return;
	if (step->way->state == WEIR_SYNACK_SEEN ? follows_synack(step->way, s->ack)
						 : follows_syn(step->way, s->seq))
		finish(s, step, WEIR_EVENT_ESTABLISHED);
}

/* An RST that the receiver will not believe changes nothing (RFC 9293, 3.10.7.3; RFC 5961). */
static __always_inline void on_rst(const struct segment *s, struct step *step)
{
	struct weir_handshake *way = step->way;
	bool acks_syn = s->flags & TCP_ACK && follows_syn(way, s->ack);

	if (from_client(step, s)) {
		if (follows_syn(way, s->seq))
			finish(s, step, WEIR_EVENT_RESET);
	} else if (way->state == WEIR_SYN_SEEN) {
		if (acks_syn)
			finish(s, step, WEIR_EVENT_REFUSED);
	} else if (acks_syn || s->seq == way->server_isn + 1) {
		finish(s, step, WEIR_EVENT_RESET);
	}
}

/* ---- the whole ---- */

static __always_inline void handshake(struct __sk_buff *skb, const struct segment *s)
{
	bool opens = (s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
	struct step step = {};

	if (s->flags & TCP_SYN && s->flags & (TCP_RST | TCP_FIN))
		return;
	if (opens && !handshakes.seed)
		inflight_draw_seed();
	step.way = inflight_find(segment_fingerprint(s, handshakes.seed), &step.at);
	if (!step.way && !opens)
		return;
	step.now = bpf_ktime_get_ns();
	if (step.way && inflight_expired(step.way, step.now)) {
		give_up(&step);
		step.way = NULL;
	}
	if (opens)
		on_syn(skb, s, &step);
	else if (!step.way)
		return;
	else if (s->flags & TCP_RST)
		on_rst(s, &step);
	else if (s->flags & TCP_SYN)
		on_synack(s, &step);
	else if (s->flags & TCP_ACK)
		on_ack(s, &step);
}

#endif
