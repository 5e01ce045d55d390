/* SPDX-License-Identifier: MIT */
/*
 * limit.h - every limit of the daemon: its name, its default, and what happens when it is reached.
 */
#ifndef PATHBUS_DAEMON_LIMIT_H
#define PATHBUS_DAEMON_LIMIT_H

/* Connections. The next one is told EUSERS and closed. */
#define LIMIT_CLIENTS 8192u
/* Topics, all connections together. Opening a new one: ENFILE. */
#define LIMIT_TOPICS 100000u
/* Open topics of one connection. Opening another: EMFILE. With shared memory each is two mappings of the client, of which
 * Linux allows 65530 in a process (vm.max_map_count): the rest is the program's own. */
#define LIMIT_CLIENT_TOPICS 30000u
/* Openings of one connection that are not answered yet. Nothing more is read from it meanwhile. */
#define LIMIT_CLIENT_OPENINGS 32u
/* Bytes of answers that a connection has not taken. Nothing more is read from it meanwhile. */
#define LIMIT_CLIENT_QUEUE 16384u
/* Memory, in bytes, and frames of events that wait for a connection to take them. With more they stay in the lane: what
 * is not taken before it is overwritten there is told as a GAP, and posts are merged. One event more may be waiting, of
 * whatever size. */
#define LIMIT_EVENT_BYTES 32768u
#define LIMIT_EVENT_FRAMES 512u
/* Events that are made for one connection before others get their turn. More than a connection publishes meanwhile. */
#define LIMIT_EVENTS_IN_A_ROW 256u
/* Openings of others that are sent what a connection posts before it is answered, of all that it posts in one turn; the
 * others are soon afterwards. */
#define LIMIT_DELIVERIES_IN_A_ROW 64u
/* Openings that are looked at because their lane has changed, and SYNCs that wait for it, before others get their turn. */
#define LIMIT_LOOKS_IN_A_ROW 256u
#define LIMIT_SYNCS_IN_A_ROW 64u
/* Writers of a linked lane whose order is watched, for each subscriber. With more those are forgotten that have been silent
 * for longest: then a message of theirs that comes late or twice is told as any other. */
#define LIMIT_KNOWN_ORIGINS 1024u
/* SYNCs of a connection that are not answered yet. The next one: EBUSY. */
#define LIMIT_CLIENT_SYNCS 32u
/* Processes whose names are found out for the SYNCs of one connection before others get their turn. */
#define LIMIT_NAMES_IN_A_ROW 8u
/* How often SYNCs look at members with shared memory, milliseconds: from the first to the last pause. */
#define LIMIT_SYNC_FIRST_MS 1u
#define LIMIT_SYNC_LAST_MS 256u
/* Endpoints, and names that are waited for, all connections together. The next: ENFILE. */
#define LIMIT_ENDPOINTS 16384u
/* Endpoints that one connection listens at. The next: EMFILE. */
#define LIMIT_CLIENT_ENDPOINTS 256u
/* Connections that a listener has not taken yet, of one endpoint and of all. Further ones wait. */
#define LIMIT_ENDPOINT_UNTAKEN 16u
#define LIMIT_CLIENT_UNTAKEN 64u
/* CONNECTs and REDEEMs of a connection that wait. The next that would have to: EBUSY. */
#define LIMIT_CLIENT_CONNECTS 32u
/* Descriptors of its own, one end of a connection each, that a connection has not taken: they are the daemon's until then.
 * With more nothing is read from it meanwhile. */
#define LIMIT_CLIENT_DESCRIPTORS 32u
/* Tokens that were made by a connection that is still there, all tokens, and how long they may be redeemed, milliseconds. The
 * next: ENOBUFS. */
#define LIMIT_CLIENT_TOKENS 64u
#define LIMIT_TOKENS 16384u
#define LIMIT_TOKEN_MS 60000u
/* A connection has ended, but not its process: its members are taken out after so many milliseconds. */
#define LIMIT_DEPARTURE_MS 1000u
/* A connection is closed for a fault: how long it may take the reason, and the answers before it, milliseconds. */
#define LIMIT_LAST_WORDS_MS 2000u
/* The kernel's share of unread answers per connection. Small, because descriptors under way count against
 * the daemon's user: one client that does not read must not use them up for all. */
#define LIMIT_CLIENT_SEND_BUFFER 8192
/* Bytes of all regions that a user has made, and how many. Making another: EDQUOT. Memory is taken as it is used, or
 * reserved by who makes a region; the daemon has a descriptor of each. (--max-region-bytes, --max-regions) */
#define LIMIT_REGION_BYTES (UINT64_C(64) << 30)
#define LIMIT_REGIONS 4096u
/* Regions of a topic that one connection holds, each as often as it has opened it: EMFILE. The same of all topics and
 * connections: ENFILE. */
#define LIMIT_MEMBER_HOLDERS 4096u
#define LIMIT_HOLDERS 262144u
/* Connections accepted, bytes read from one, and its frames, before others get their turn. */
#define LIMIT_ACCEPTS_IN_A_ROW 16u
#define LIMIT_READ_IN_A_ROW 16384u
#define LIMIT_FRAMES_IN_A_ROW 64u

/* Where several users are served: nanoseconds of main's time in a round of the loop, before others get their turn; and those of
 * a user that have waited for room, or time, and are called before others get theirs. */
#define LIMIT_USER_TURN_NS 100000u
#define LIMIT_WAITING_IN_A_ROW 64u
/* A connection that has sent something for which its user has no room, a half of a frame perhaps, is closed after so many
 * milliseconds. */
#define LIMIT_ROOM_MS 5000u
/* Who waits for room is looked at after so many milliseconds at the latest. */
#define LIMIT_USER_WAIT_MS 250u
/* Of what all users together may have, this part (one in so many) is kept for those who have less than that part of it. */
#define LIMIT_KEPT_PART 8u
#define LIMIT_LITTLE_PART 64u
/* What a user of several may have by default is one part in so many of all. */
#define LIMIT_USER_PART 4u
/* And where there is no limit for all (limits.c). */
#define LIMIT_USER_OPEN 65536u
#define LIMIT_USER_WATCHES 32768u
#define LIMIT_USER_LANE_BYTES (UINT64_C(128) << 30)
#define LIMIT_USER_CONNECTS 1024u
#define LIMIT_USER_SYNCS 1024u
#define LIMIT_USER_REQUESTS 64u
#define LIMIT_USER_QUEUE_BYTES (UINT64_C(64) << 20)
#define LIMIT_USER_HISTORY_BYTES (UINT64_C(64) << 20)
#define LIMIT_USER_RATE 100000u
#define LIMIT_USER_BURST 50000u
/* The least that max-user-queue-bytes may be: what a connection with a frame and an event of the largest size has. */
#define LIMIT_USER_QUEUE_MIN (UINT64_C(256) << 10)
/* So much of it has to be free before more is read, or more events are made. */
#define LIMIT_USER_QUEUE_ROOM (UINT64_C(96) << 10)
/* All users together, where there are several: bytes waiting, and what was told. */
#define LIMIT_QUEUE_BYTES (UINT64_C(1) << 30)
#define LIMIT_HISTORY_BYTES (UINT64_C(1) << 30)
/* Descriptors that are the daemon's own, beside those that are charged to users. */
#define LIMIT_OWN_DESCRIPTORS 256u
/* With so many in all, what a user may have by default fits. */
#define LIMIT_DESCRIPTORS_ENOUGH 262144u

/* Milliseconds from connecting to the greeting. Then the connection is closed. (--hello-timeout) */
#define LIMIT_HELLO_MS 5000u
/* How long the listener rests when a descriptor cannot even be had for refusing a connection. */
#define LIMIT_ACCEPT_REST_MS 100u
/* When the kernel has too many descriptors under way for this user: a pause before the next attempt. */
#define LIMIT_IN_FLIGHT_REST_MS 20u

/* Members that share one bell. The kernel takes 500 sets on an open file, where those are polled themselves. */
#define LIMIT_BELL_MEMBERS 64u
/* Members of a lane whose posters ring for themselves; with more the daemon rings. (--offload-members) */
#define LIMIT_OFFLOAD_MEMBERS 8u
/* The same for a lane with messages. (--offload-message-members) */
#define LIMIT_OFFLOAD_MESSAGE_MEMBERS 4u
/* What is carried out of a lane before others get their turn; and at most, and for so long, when the topic ends or a lane is
 * retired, where the rest is told as RESYNC. More posts at once than that count as so many. */
#define LIMIT_CARRIED_IN_A_ROW 128u
#define LIMIT_CARRIED_AT_THE_END 65536u
#define LIMIT_AT_THE_END_NS 10000000u
#define LIMIT_MERGED_POSTS 65536u
/* How far ahead the versions of the state may jump that a user's lane says. */
#define LIMIT_STATE_VERSIONS (UINT64_C(1) << 32)
/* Topics without members whose state is kept, of all users. Further ones are not kept. (--max-user-kept) And how many are looked at,
 * whether their time is over, before others get their turn. */
#define LIMIT_KEPT 16384u
#define LIMIT_KEPT_IN_A_ROW 256u
/* Slots of a ring that are looked at in one step; and to find one for a message of a connection, where each of the writers that
 * stand still may cost a look at all others. */
#define LIMIT_RING_STEPS 512u
#define LIMIT_CLAIM_STEPS 32768u
/* Lanes in which the carrier looks for messages before others get their turn. */
#define LIMIT_CANDIDATES_IN_A_ROW 256u

/* Processes that resolve paths. */
#define LIMIT_WORKERS 4u
/* Requests that the workers have of one connection at a time: one that asks for paths which hang leaves some
 * workers to the others. */
#define LIMIT_OWNER_REQUESTS 2u
/* In the daemon of all users: workers of one user, and of all. A user's questions wait for those; where there is no place
 * for another's, one that has nothing to do ends. */
#define LIMIT_USER_WORKERS 4u
#define LIMIT_ALL_WORKERS 64u
/* Questions of one user that wait there. The next: EDQUOT. */
#define LIMIT_USER_QUESTIONS 512u
/* A worker there that has had nothing to do for so many milliseconds ends, and a link agent without links. (--helper-idle) */
#define LIMIT_HELPER_IDLE_MS 10000u
/* Killed workers that a file system holds back from dying there, of one user and of all. With more no new one is started:
 * openings fail with ETIMEDOUT. */
#define LIMIT_USER_LOST_WORKERS 8u
#define LIMIT_ALL_LOST_WORKERS 256u
/* Processes of clients' that its files process has: workers, the lost ones too, and link agents. */
#define LIMIT_FORKED 1024u
/* How long that process waits for killed workers to die when the daemon ends, milliseconds. */
#define LIMIT_FILES_END_MS 2000u
/* A path that is not resolved after so many milliseconds: ETIMEDOUT, and its worker is replaced.
 * (--files-timeout) */
#define LIMIT_FILES_MS 200u
/* A worker that only waits for the processor gets that time anew, so many times. */
#define LIMIT_FILES_EXTENSIONS 10u
/* After so many milliseconds without an answer another worker is started. */
#define LIMIT_FILES_SLOW_MS 10u
/* A worker that has not said that it is ready by then is replaced. */
#define LIMIT_WORKER_START_MS 5000u
/* After so many workers in a row that ended before they were ready none is started for a while. */
#define LIMIT_WORKER_STARTS 3u
#define LIMIT_WORKER_REST_MS 1000u
/* Killed workers that a file system holds back from dying. With more no new one is started, and openings
 * fail with ETIMEDOUT until some are gone. */
#define LIMIT_LOST_WORKERS 16u
/* A request for which no worker became free by then: ETIMEDOUT. */
#define LIMIT_FILES_QUEUE_MS 1000u

/* An existing sidecar that is not linked after so many milliseconds, while an opening waits for it: the link
 * agent is killed and another started. */
#define LIMIT_LINK_MS 5000u
/* Looks for sidecars that the workers have at a time; openings come beside them. */
#define LIMIT_LOOKS 2u
/* Rights that are not decided anew within so many milliseconds since something has happened are lost. */
#define LIMIT_RIGHTS_MS 3000u
/* Names of files that lose theirs so before others get their turn. */
#define LIMIT_RIGHTS_IN_A_ROW 64u
/* A look that failed for want of something is repeated after so many milliseconds. */
#define LIMIT_LOOK_AGAIN_MS 1000u
/* Starts of the link agent within LIMIT_AGENT_WINDOW_MS; then it is given up for LIMIT_AGENT_REST_MS. */
#define LIMIT_AGENT_STARTS 5u
#define LIMIT_AGENT_WINDOW_MS 10000u
#define LIMIT_AGENT_REST_MS 60000u
/* In the daemon of all users, where each user may hold up one agent: links of it that it has not answered for, each with some
 * descriptors under way; another is tried again later. And messages that wait for it: then it is killed. */
#define LIMIT_AGENT_UNANSWERED 256u
#define LIMIT_AGENT_WAITING 4096u

/* A folder's watch that nobody needs stays for so long, since another may need it soon; fewer of them the more there are. */
#define LIMIT_WATCH_REST_MS 1000u
#define LIMIT_RESTING_WATCHES 256u
/* A question is asked again so often because the watch that its answer names had just been ended. */
#define LIMIT_STALE_WATCHES 3u
/* Watches that no answer has named are looked for at most so often, and for at most a hundredth of the time. */
#define LIMIT_LOST_WATCHES_MS 1000u

/* Lines about topics that are to be logged, at once and in a second, of what one user does; and of all. Further ones are counted. */
#define LIMIT_TOPIC_LOG_BURST 100u
#define LIMIT_TOPIC_LOG_RATE 20u
#define LIMIT_TOPIC_LOG_BURST_OF_ALL 500u
#define LIMIT_TOPIC_LOG_RATE_OF_ALL 100u
/* Reading the configuration anew: given up when there is no answer after so many milliseconds. */
#define LIMIT_CONFIG_MS 20000u

/* Lanes whose posts are told to those who watch them on the control socket; others are not. What is told of one in a row, and the
 * pause after it, milliseconds: posts are merged meanwhile, and messages may be too fast. */
#define LIMIT_TRACED_LANES 4096u
#define LIMIT_TRACED_IN_A_ROW 64u
#define LIMIT_TRACE_REST_MS 20u
/* Topics that are looked at in a row when somebody begins or ends to watch. */
#define LIMIT_TRACE_TOPICS_IN_A_ROW 32u

/* Lines in the log of one reason, and of one user, that others can cause, in a pause of so many milliseconds; and of all users. What
 * is more is counted, and told at its end. While it goes on there is one line in a pause, and each pause is twice as long as the
 * one before it, up to the longest. */
#define LIMIT_LOG_LINES 3u
#define LIMIT_LOG_LINES_OF_ALL 50u
#define LIMIT_LOG_PAUSE_MS 10000u
#define LIMIT_LOG_LONGEST_PAUSE_MS 600000u
/* Bytes of lines that wait for a file to be written. What is more is counted, and dropped. */
#define LIMIT_LOG_FILE_BYTES 262144u
/* How long the end waits for them, milliseconds. */
#define LIMIT_LOG_END_MS 1000u

#endif
