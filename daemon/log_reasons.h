/* SPDX-License-Identifier: MIT */
/*
 * log_reasons.h - the reasons that lines of the log name, [like-this] at their end: for those who watch logs by machine. A reason
 * keeps its meaning for good. docs/logs.md has the same table for people, and a test compares the two.
 *
 * X(reason, level, how often: LIMITED and OFTEN what others than the admin can cause (limit.h), name, meaning)
 */
#ifndef PATHBUS_DAEMON_LOG_REASONS_H
#define PATHBUS_DAEMON_LOG_REASONS_H

#define LOG_REASONS(X) \
	/* the daemon itself */ \
	X(SERVING, INFO, ALWAYS, "serving", "it listens, and answers from now on") \
	X(STOPPING, INFO, ALWAYS, "stopping", "it was told to stop") \
	X(IDLE, INFO, ALWAYS, "idle", "nobody has needed it for a while: it ends, to be started on demand; or nobody would do that") \
	X(SUPERSEDED, INFO, ALWAYS, "superseded", "a user's daemon gives way to the one of all users") \
	X(START_FAILED, ERROR, ALWAYS, "start-failed", "it cannot start") \
	X(ADDRESS, ERROR, ALWAYS, "address", "it cannot serve at its address") \
	X(ADDRESS_TAKEN, ERROR, ALWAYS, "address-taken", "another pathbusd serves there already") \
	X(SERVICE_USER, ERROR, ALWAYS, "service-user", "the user that it is to run as is not there, or cannot be become") \
	X(MANAGER, WARNING, LIMITED, "manager", "the service manager hands over what is of no use, or is told nothing") \
	X(SETUP, WARNING, ALWAYS, "setup", "something of the system is not as it should be; the daemon works all the same") \
	X(SANDBOX, INFO, ALWAYS, "sandbox", "what restricts its processes, or that nothing does since that was asked for") \
	X(SANDBOX_MISSING, WARNING, LIMITED, "sandbox-missing", "a process of a user's daemon runs without a sandbox") \
	X(SANDBOX_FAILED, ERROR, LIMITED, "sandbox-failed", "a process of the daemon of all users cannot enter its sandbox") \
	X(SANDBOX_KILLED, ERROR, LIMITED, "sandbox-killed", "a process made a system call that its sandbox does not have: a defect") \
	X(DESCRIPTORS_FEW, WARNING, ALWAYS, "descriptors-few", "limits that were set need more descriptors than there are") \
	X(DESCRIPTORS_SHARED, INFO, ALWAYS, "descriptors-shared", "the limit of open files decides how many topics a user may have") \
	X(FILES_LOST, ERROR, ALWAYS, "files-lost", "the process that looks at files has ended: the daemon stops, to be started anew") \
	X(NO_MEMORY, ERROR, LIMITED, "no-memory", "there was no memory for something that somebody should have been told") \
	X(DEFECT, ERROR, LIMITED, "defect", "accounts do not add up: a defect") \
	X(LOG_TARGET, WARNING, ALWAYS, "log-target", "the log cannot be written where it should be") \
	X(LOG_DROPPED, WARNING, ALWAYS, "log-dropped", "lines could not be written in time, and were left out") \
	X(RELOADED, INFO, ALWAYS, "reloaded", "the configuration was read anew; what has changed") \
	X(RELOAD_FAILED, ERROR, ALWAYS, "reload-failed", "the configuration was not taken; the old one holds") \
	X(READER_LOST, ERROR, LIMITED, "reader-lost", "the process that reads the configuration anew is not there: reloads are refused") \
	X(CONTROL, WARNING, LIMITED, "control", "something at the control socket went wrong") \
	X(ADMIN, INFO, ALWAYS, "admin", "somebody has changed something by the control socket") \
	/* topics */ \
	X(TOPIC, INFO, ALWAYS, "topic", "what happens to a topic whose section of the configuration has log = yes") \
	X(NOT_KEPT, WARNING, LIMITED, "not-kept", "a topic's state is not kept, though its section of the configuration has keep-state") \
	X(RIGHTS_CHANGED, INFO, LIMITED, "rights-changed", "another file has come under a name: members join it anew") \
	X(REGION_UNTOLD, WARNING, LIMITED, "region-untold", "the holders of a region could not be told that it was replaced") \
	X(UNASKED, INFO, LIMITED, "unasked", "something failed for a client that had not asked how it went") \
	/* files and folders */ \
	X(FILES_SILENT, WARNING, LIMITED, "files-silent", "a file system does not answer; who asked for a path there was refused") \
	X(FILES_WORKER, WARNING, LIMITED, "files-worker", "a process that looks at files has ended, and is replaced") \
	X(FILES_UNSTARTED, ERROR, LIMITED, "files-unstarted", "a process that looks at files could not be started") \
	X(FILES_STARTED, DEBUG, ALWAYS, "files-started", "a process that looks at files has started") \
	X(FOLDER_UNSEEN, WARNING, LIMITED, "folder-unseen", "a folder could not be looked at for a sidecar") \
	X(FOLDER_UNWATCHED, WARNING, LIMITED, "folder-unwatched", "a folder cannot be watched: who meets there later is not heard of") \
	X(FOLDER_OVERFLOW, WARNING, LIMITED, "folder-overflow", "too much has happened in folders at once: all are looked at anew") \
	/* links with sidecars */ \
	X(LINK_FAILED, WARNING, LIMITED, "link-failed", "a sidecar could not be linked") \
	X(LINK_FOREIGN, WARNING, LIMITED, "link-foreign", "a sidecar is not linked, since its user has not opened the file here") \
	X(LINK_LATE, WARNING, LIMITED, "link-late", "a sidecar is not linked in time; the link agent is replaced") \
	X(LINK_AGENT, WARNING, LIMITED, "link-agent", "a link agent has ended, or says what nobody understands") \
	X(LINK_AGENT_GIVEN_UP, ERROR, LIMITED, "link-agent-given-up", "a link agent has ended too often, and is not started for a while") \
	X(LINK_AGENT_UNSTARTED, ERROR, LIMITED, "link-agent-unstarted", "a link agent cannot be started, or told something") \
	X(LINK_AGENT_STARTED, DEBUG, ALWAYS, "link-agent-started", "a link agent has started") \
	/* connections */ \
	X(ACCEPT_FAILED, ERROR, LIMITED, "accept-failed", "a connection cannot be accepted") \
	X(DROP_NONE, WARNING, LIMITED, "drop-none", "a connection was closed") \
	X(DROP_SIZE, WARNING, LIMITED, "drop-size", "a connection was closed: a frame's size is out of range") \
	X(DROP_MALFORMED, WARNING, LIMITED, "drop-malformed", "a connection was closed: a malformed frame") \
	X(DROP_TYPE, WARNING, LIMITED, "drop-type", "a connection was closed: a frame of an unknown type") \
	X(DROP_ORDER, WARNING, LIMITED, "drop-order", "a connection was closed: the first frame, and only that, is a greeting") \
	X(DROP_VERSION, WARNING, LIMITED, "drop-version", "a connection was closed: no common version of the protocol") \
	X(DROP_SILENT, WARNING, LIMITED, "drop-silent", "a connection was closed: no greeting in time, or no room for what it sent") \
	X(DROP_DESCRIPTORS, WARNING, LIMITED, "drop-descriptors", "a connection was closed: it sent descriptors") \
	X(DROP_TOPIC, WARNING, LIMITED, "drop-topic", "a connection was closed: it closed a topic that is not open") \
	X(DROP_NO_TOPIC, WARNING, LIMITED, "drop-no-topic", "a connection was closed: it named a topic that is not open for the socket") \
	X(DROP_NOT_OPEN, WARNING, LIMITED, "drop-not-open", "a connection was closed: it named a topic that is not open") \
	X(DROP_USER, WARNING, LIMITED, "drop-user", "a connection was refused: another user's process") \
	X(DROP_TOO_MANY, WARNING, LIMITED, "drop-too-many", "a connection was refused: there are as many as there may be") \
	X(DROP_QUOTA, WARNING, LIMITED, "drop-quota", "a connection was refused: its user has as much as it may have") \
	X(DROP_NO_DESCRIPTORS, WARNING, LIMITED, "drop-no-descriptors", "a connection was refused: no descriptors are left") \
	X(DROP_NO_MEMORY, WARNING, LIMITED, "drop-no-memory", "a connection was closed: no memory is left") \
	X(DROP_BROKEN, WARNING, LIMITED, "drop-broken", "a connection was closed: its socket failed") \
	X(DROP_ADMIN, WARNING, LIMITED, "drop-admin", "a connection was closed by the control socket") \
	/* limits: what a user asked for was refused, or waits */ \
	X(LIMIT_CONNECTIONS, WARNING, LIMITED, "limit-connections", "connections: max-user-connections") \
	X(LIMIT_DESCRIPTORS, WARNING, LIMITED, "limit-descriptors", "descriptors of the daemon's: max-user-descriptors") \
	X(LIMIT_IN_FLIGHT, WARNING, LIMITED, "limit-in-flight", "descriptors that were sent and not taken: max-user-descriptors") \
	X(LIMIT_OPEN, WARNING, LIMITED, "limit-open", "openings of topics: max-user-open") \
	X(LIMIT_TOPICS, WARNING, LIMITED, "limit-topics", "topics: max-user-topics") \
	X(LIMIT_TOPIC_BYTES, WARNING, LIMITED, "limit-topic-bytes", "memory of topics: max-user-topic-bytes") \
	X(LIMIT_WATCHES, WARNING, LIMITED, "limit-watches", "names of files whose folders are watched: max-user-watches") \
	X(LIMIT_REGIONS, WARNING, LIMITED, "limit-regions", "regions: max-regions") \
	X(LIMIT_REGION_BYTES, WARNING, LIMITED, "limit-region-bytes", "bytes of regions: max-region-bytes") \
	X(LIMIT_HOLDERS, WARNING, LIMITED, "limit-holders", "openings of regions: max-user-holders") \
	X(LIMIT_ENDPOINTS, WARNING, LIMITED, "limit-endpoints", "endpoints, and names that are waited for: max-user-endpoints") \
	X(LIMIT_CONNECTS, WARNING, LIMITED, "limit-connects", "connects that wait: max-user-connects") \
	X(LIMIT_TOKENS, WARNING, LIMITED, "limit-tokens", "tokens: max-user-tokens") \
	X(LIMIT_SYNCS, WARNING, LIMITED, "limit-syncs", "syncs that wait: max-user-syncs") \
	X(LIMIT_REQUESTS, WARNING, LIMITED, "limit-requests", "paths to be looked at: max-user-requests") \
	X(LIMIT_QUEUE_BYTES, WARNING, LIMITED, "limit-queue-bytes", "bytes waiting: max-user-queue-bytes") \
	X(LIMIT_HISTORY_BYTES, WARNING, LIMITED, "limit-history-bytes", "bytes of what was told: max-user-history-bytes") \
	X(LIMIT_KEPT, WARNING, LIMITED, "limit-kept", "topics whose state is kept: max-user-kept") \
	X(LIMIT_RATE, WARNING, LIMITED, "limit-rate", "posts and messages a second, to other users: max-user-rate") \
	X(LIMITS_REACHED, INFO, OFTEN, "limits-reached", "a user has gone: how often it was refused what") \
	/* where nothing else fits */ \
	X(ERROR, ERROR, LIMITED, "error", "another error") \
	X(WARNING, WARNING, LIMITED, "warning", "another warning") \
	X(INFO, INFO, LIMITED, "info", "something else") \
	X(DEBUG, DEBUG, ALWAYS, "debug", "for those who look for a defect")

#endif
