/*
 * Every maximum of Enxame, each with its reason.  What another host chooses (a length, a count, a name, a time) is
 * compared with one of these before anything is allocated or waited for.
 */
#ifndef ENXAME_LIMITS_H
#define ENXAME_LIMITS_H

#include <stdint.h>

#define KIB 1024u
#define MIB (1024u * KIB)

/* ---- contents ---- */

/* A leaf of the Merkle tree, from BEP 52. */
#define BLOCK_SIZE (16u * KIB)
/* What one request may fetch: from one leaf to what fits in memory a few dozen times. */
#define CHUNK_SIZE_MIN BLOCK_SIZE
#define CHUNK_SIZE_MAX (16u * MIB)
/* A layer is 2 MiB at most: quick to fetch, cheap to keep.  With chunks of 16 MiB it covers 1 TiB. */
#define LAYER_HASHES_MAX 65536u
/* The largest content: LAYER_HASHES_MAX chunks of CHUNK_SIZE_MAX. */
#define CONTENT_SIZE_MAX ((uint64_t)LAYER_HASHES_MAX * CHUNK_SIZE_MAX)
/* JSON numbers are exact up to 2^53 in every language. */
#define JSON_INTEGER_MAX ((UINT64_C(1) << 53) - 1)

/* ---- names ---- */

/* One component of a path: NAME_MAX of every common Linux file system. */
#define NAME_COMPONENT_MAX 255u
/* A whole relative name; below PATH_MAX (4096), so that it can be opened below a folder. */
#define NAME_SIZE_MAX 3072u
/* Components of a name: deeper trees are accidents or attacks. */
#define NAME_DEPTH_MAX 64u

/* ---- messages ---- */

/* jansson turns 1 MiB of "{},{},..." into 79 MiB of heap; 256 KiB keeps one body below 20 MiB. */
#define BODY_SIZE_MAX (256u * KIB)
/* Items in one body or one page. */
#define ITEMS_MAX 1000u
/* Items in a page where the client names no limit. */
#define ITEMS_DEFAULT 100u
/* A client's bound on an answer: the server's own cap, with room for a foreign server's whitespace. */
#define ANSWER_SIZE_MAX (1u * MIB)
/* A search pattern: longer than any name is of no use, and SQLite's GLOB costs grow with it. */
#define PATTERN_SIZE_MAX 512u
/* An opaque cursor of a paged list: a name in hex, and a number. */
#define CURSOR_SIZE_MAX 6400u
/* A body that is refused is read this far all the same, so that its sender sees the answer and not a reset. */
#define REFUSED_BODY_MAX (1u * MIB)
/* Bodies that all connections together may be buffering; more is answered 503. */
#define BODIES_BUDGET (32u * MIB)

/* ---- the HTTP server ---- */

/* Memory of one connection: 8 KiB keeps 10,000 idle ones below 100 MiB; headers beyond it are 431. */
#define CONNECTION_MEMORY (8u * KIB)
/* Of that for a path with its query, each argument counted with what libmicrohttpd notes of it. */
#define TARGET_MAX (7u * KIB)
#define ARGUMENT_COST 64u
#define CONNECTIONS_MAX 12000u
/* One host may not take them all; a NAT with a whole lab behind it still fits. */
#define CONNECTIONS_PER_ADDRESS_MAX 4096u
/* Nobody may ask for more than this of either: 8 GiB of memory. */
#define CONNECTIONS_LIMIT 1000000u
/* Silence that closes a connection. */
#define CONNECTION_IDLE_S 75u
/* From the first wait for a request until its last byte, whatever trickles in. */
#define REQUEST_DEADLINE_MS 90000u
/* Once the body has begun. */
#define BODY_DEADLINE_MS 30000u
/* Nobody may ask for more patience than this. */
#define CLIENT_TIMEOUT_MAX_S 3600u
/* An answer may take this long plus its size at this rate: a reader slower than that is cut off. */
#define ANSWER_DEADLINE_MS 60000u
#define ANSWER_RATE_MIN (4u * KIB)
/* Long polls: each holds a connection and is not noticed when its client leaves. */
#define POLL_WAIT_MAX_MS 30000u
#define POLLS_PER_ADDRESS_MAX 256u
#define POLLS_MAX 4096u
/* Stopping: requests under way may take this long. */
#define DRAIN_MS 5000u
/* After that, the answers that tell of the end may take this long to go out. */
#define STOP_MS 1000u

/* ---- the HTTP client ---- */

#define CONNECT_TIMEOUT_MS 5000u
/* A JSON call, from first to last byte. */
#define CALL_TIMEOUT_MS 15000u
/* A holder's error page is read no further than this. */
#define ERROR_BODY_MAX (16u * KIB)

/* ---- the LAN ---- */

/* An announcement: fits into one packet of every link (IPv6 guarantees 1280 bytes, with headers). */
#define BEACON_SIZE_MAX 1200u
#define BEACON_EVERY_MS 5000u
/* Those heard of: a large LAN; 200 bytes each. */
#define SIGHTINGS_MAX 1024u
/* At one address: several on one host, without letting one host take the whole table. */
#define SIGHTINGS_PER_HOST_MAX 64u
/* Packets of one sender (host and port) that are parsed in a second: more than a program sends. */
#define BEACONS_PER_SENDER_S 8u
/* And of all senders that are not known yet: about 2 % of a core. */
#define BEACONS_UNKNOWN_S 1000u
/* New ones taken in a second, so that forged ones do not push out a true one before it is heard again. */
#define SIGHTINGS_NEW_S 64u
/* Interfaces that are announced on: a host of containers has many, but Linux lets a socket join on 20. */
#define MULTICAST_INTERFACES_MAX 20u
/* Trackers that were found there: one is used, the others wait for its end. */
#define TRACKERS_FOUND_MAX 4u

/* ---- rates ---- */

/* A lower limit is no limit but a stop: others take whoever brings less than 400 bytes a second for dead. */
#define RATE_MIN (1u * KIB)
/* Beyond any link; its products with microseconds fit in 64 bits. */
#define RATE_MAX (UINT64_C(1) << 40)

/* ---- the tracker ---- */

#define HEARTBEAT_DEFAULT_S 10u
#define HEARTBEAT_MAX_S 3600u
#define EXPIRE_MAX_S 86400u
/* Files of one peer: bounds what one liar can put into the store. */
#define PEER_FILES_MAX 2000000u
/* Writes waiting for the writer thread; beyond it the answer is 503 with Retry-After. */
#define WRITE_QUEUE_MAX 4096u
/* Writes in one transaction. */
#define WRITE_BATCH_MAX 256u

/* Holders of one content that a read looks at one by one; of more it takes a sample. */
#define HOLDERS_EXACT_MAX 1000u
/* Searches waiting for a thread; beyond it the answer is 503 with Retry-After.  Each takes READ_CPU_US at most. */
#define SEARCH_QUEUE_MAX 128u
/* Processor time of one page: a search that takes longer goes on with the next one. */
#define READ_CPU_US 50000u

/* ---- neighbours ---- */

/* Other peers that one knows at a time: a lab or a department; some hundred bytes each. */
#define NEIGHBOURS_KNOWN_MAX 1024u
/* Of which so many may be mere hearsay: a liar's list pushes out other hearsay only. */
#define NEIGHBOURS_UNPROVEN_MAX 256u
/* Addresses of one peer: IPv4 and IPv6 on two interfaces. */
#define NEIGHBOUR_ADDRESSES_MAX 4u
/* The file of --neighbours: full lines for all of them, and long comments. */
#define NEIGHBOURS_FILE_MAX (256u * KIB)
/* A hello or a bye: a few short members. */
#define HELLO_SIZE_MAX (8u * KIB)
/* The name of a network; only its hash travels. */
#define NETWORK_NAME_MAX 64u
/* What a peer says that it can do, and each word of that. */
#define FEATURES_MAX 16u
#define FEATURE_SIZE_MAX 32u

/* ---- the peer ---- */

/* Threads that hash: more than this waits for the disk. */
#define HASHERS_MAX 64u
/* Holders of one download that are asked at a time. */
#define HOLDERS_MAX 64u
/* Downloads under way at once; more wait their turn. */
#define DOWNLOADS_ACTIVE_MAX 8u
/* With those that wait for a holder: each has a thread, and looks for one. */
#define DOWNLOADS_OPEN_MAX 64u
/* Small contents in one POST /v1/batch: an answer of at most ITEMS_MAX of these. */
#define BATCH_CONTENT_MAX (256u * KIB)
/* Files of one job (`download folder/`): about 100 MiB of memory.  Their names together, as each may have NAME_SIZE_MAX. */
#define JOB_FILES_MAX 1000000u
#define JOB_NAMES_MAX (256u * MIB)
/* Other contents that a tracker offers for names of one job: a person is to choose among them. */
#define JOB_CHOICES_MAX 10000u
/* Batches that a peer sends at a time: each keeps the paths of its files in memory, a quarter of a MiB as a rule. */
#define BATCHES_MAX 128u
/* Requests for bytes of files that wait for their turn; each holds a connection. */
#define UPLOADS_WAITING_MAX 4096u
#define UPLOADS_WAITING_PER_ADDRESS_MAX 1024u
/* Lines of one prompt command. */
#define COMMAND_SIZE_MAX 8192u
/* Rows of `stats`: more than a person compares; the one that got no new run for longest goes. */
#define STATISTICS_MAX 1000u
/* Clients attached to one peer: each has two threads. */
#define CONTROL_CLIENTS_MAX 16u
/* A client that does not say who it is keeps no place. */
#define CONTROL_HELLO_MS 5000u
/* The content of one frame to an attached client; longer results go in several. */
#define FRAME_SIZE_MAX (64u * KIB)
/* What a client that does not read may leave unread: its own command waits then, and news from elsewhere is dropped. */
#define CONTROL_QUEUE_MAX (1u * MIB)

/* ---- folder sync ---- */

/*
 * Peers that ever changed one file: more machines than a network that keeps one folder is likely to have.  A version is part
 * of every entry, and an entry of this many, with the longest name, fits eight times into one page.
 */
#define VERSION_COUNTERS_MAX 256u
/* `.enxameignore`: more is not written by hand, and each name is compared with each pattern. */
#define IGNORE_SIZE_MAX (64u * KIB)
#define IGNORE_PATTERNS_MAX 1000u
/* Entries of others that wait for their contents or their turn: about a GiB of the index.  Beyond that, others are not read on. */
#define SYNC_PENDING_MAX 2000000u
/* Peers of which is kept how far their index was read. */
#define SYNC_CURSORS_MAX 10000u
/* Names of a synced folder that wait to be looked at: where there are more, all of it is. */
#define SYNC_QUEUE_MAX 20000u

/* ---- the prompt's last listing ---- */

/* Rows that the last listing keeps for '#'. */
#define LISTING_ROWS_MAX 100000u

#endif
