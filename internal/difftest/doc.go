// Package difftest compares kayak with a real kube-apiserver, answer by answer.
//
// testdata holds a corpus: text files, each a sequence of requests with the answers that kube-apiserver v1.37 gave to them. The
// test starts a server in memory for each file, sends it the same requests in the same order, and compares status, headers
// and body with what is recorded. There is no non-test code here.
//
// # Files
//
// A file begins with comments ("# ...") and goes on with exchanges. A comment "# @forgetful" gives the file a server that keeps no
// history, for what is too old.
//
//	=== an update with an old resourceVersion is a conflict
//	PUT /api/v1/namespaces/${ns}/configmaps/a
//	Content-Type: application/json
//	@save rv metadata.resourceVersion
//
//	{"metadata": {"name": "a", "resourceVersion": "${rv}"}}
//	--- answer
//	409
//	Content-Type: application/json
//
//	{...}
//
// Headers follow the request line, a body follows an empty line. ${ns} is a namespace that no other file uses; objects without
// a namespace carry it in their names or labels. Lines that begin with @ are directions:
//
//	@save NAME PATH      keeps the value at PATH of the answer's JSON; later requests write ${NAME}
//	@body protobuf       the body is JSON here and Kubernetes' protobuf on the wire
//	@body base64         the body is in base64
//	@pad N               ${pad} in the body stands for N letters
//	@repeat N TEXT       ${repeat} in the body stands for N times the text
//	@events N            hang up after N events; without it an answer is read to its end
//	@until CODE          ask again until the answer has the status: for what a real server gets to a moment later
//	@differs REASON      kayak means to answer something else: what follows "--- kayak", after the answer
//
// An answer is its status, those headers that mean something to clients, and the body. JSON is laid out for reading, without
// changing the order of members or the spelling of strings; an answer that was not in one line with a newline at its end says
// so in a line "@layout". Protobuf is shown as "protobuf" with apiVersion and kind, and the JSON of the message.
//
// # Masks
//
// What differs from run to run is masked: the same value always gets the same mask, within a file, so that relations are
// compared as well.
//
//	<uid1>, <rv1>         uids and resourceVersions, numbered as they appear
//	<now>, <now+30s>      times since the file was begun; later ones, rounded
//	<name1>               the random end of a generated name
//	<continue <rv1> k>    a continue token: revision and key
//	<list>, <list1>       the resourceVersion of a list; numbered when the list has pages, which must have the same
//	<bookmark>            the resourceVersion of a bookmark, which upstream counts for each resource on its own
//	<age>, <current>, ... what the word says
//
// A value that a request of the file spells out is not masked. The entries of metadata.managedFields are sorted by who made
// them.
//
// # Recording
//
//	go test ./internal/difftest -record https://127.0.0.1:6443 -cacert CA -cert CERT -key KEY [-run TestCorpus/NAME]
//
// writes the answers of a real server into the files. It has to run with everything disabled that is not compared here: all
// admission plugins (--disable-admission-plugins with the list that --help shows as default), and with no controllers.
// Each file is recorded until two runs agree, because the server writes objects of its own now and then. With -accept, the
// test replaces what follows "--- kayak" by what kayak answers; nothing else.
package difftest
