/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the datapath would do with a packet: a copy of the device's own program, on the live maps,
 * is run on it with config.explain set, so that nothing is counted or remembered.
 */
#ifndef WEIR_EXPLAIN_PACKET_H
#define WEIR_EXPLAIN_PACKET_H

#include "loader/host/instance.h"
#include "service.h"

struct explain_request {
	__u8 proto; /* IPPROTO_TCP, _UDP, _ICMP: the last is an echo request, ICMPv6 for IPv6 */
	bool syn;   /* TCP: the first packet of a connection, else one in its middle */
	struct address source, destination;
	__u16 sport, dport;
	char device[16]; /* it comes in there; "": the only attached one */
};

struct explain_answer {
	char device[16];
	struct weir_explanation told;
	__u32 code;	 /* XDP_* */
	__u8 frame[256]; /* as it leaves, or as much as there is room for */
	__u32 length;
	__u32 rule;	 /* id of the rule that matched; 0: none */
	char egress[16]; /* "" when it goes nowhere else */
};

/* 0 or < 0 with a fail() line. The caller holds the instance. */
int explain_packet(const struct instance *in, const struct explain_request *request,
		   struct explain_answer *answer);

#endif
