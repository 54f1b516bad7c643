package v2http

import "testing"

// The rules of v2-http.md sections 1 to 6 that one request after the other can show. On a new member the index is 3.
func TestKeyRules(t *testing.T) {
	runScript(t, `
== R-01 R-20: the routes of keys and their methods
GET /v2/keys => 200 ={"action":"get","node":{"dir":true}}\n
PATCH /x => 405 =Method Not Allowed\n && Allow: HEAD,GET,PUT,POST,DELETE && X-Etcd-Cluster-Id:  && Content-Type: text/plain; charset=utf-8
TRACE /x => 405
PATCH /x?dir=no => 405
POST /v2/machines => 405 Allow: GET,HEAD
HEAD /v2/members => 405 Allow: GET,POST,DELETE,PUT
POST /v2/auth/enable => 405 Allow: GET,PUT,DELETE
PUT /v2/auth/users => 405 Allow: GET
POST /v2/auth/users/u => 405 Allow: GET,PUT,DELETE
PUT /v2/stats/self => 405 Allow: GET

== R-14 R-15: what there is not
GET !/ => 404 =404 page not found\n
GET /v2 => 404 =404 page not found\n
GET /v2/ => 404
GET /v2/leader => 404
GET /v2/admin/machines => 404
GET /v2/speedTest => 404
GET !/v1/keys/a => 404
GET !/mod/v2/lock/x => 404
GET /v2/keysx => 404
GET /v2/stats/nothing => 404
GET /v2/stats/self/ => 404

== R-02 R-04 R-05 R-06 R-07 R-08 R-09 R-10 R-11: what else there is
GET /v2/machines => 200
HEAD /v2/machines => 200
GET /v2/stats/self => 200
GET /v2/stats/leader => 200
GET /v2/stats/store => 200
GET /v2/auth/enable => 200
GET /v2/auth/users => 200
GET /v2/auth/roles/ => 200
GET /v2/auth/users/u => 404
DELETE /v2/auth/roles/r => 404
GET !/version => 200
GET !/health => 200
GET !/metrics => 200
GET !/debug/vars => 200
POST !/debug/vars => 405 Allow: GET

== R-21 C-05: OPTIONS ends before the routes
OPTIONS /x => 200 = && Allow: 
OPTIONS /v2/nothing => 200 =
OPTIONS !/nothing => 200 =

== R-22 K-43: HEAD is a get without its body
PUT /a | value=1 => 201
HEAD /a?quorum=true => 200 X-Etcd-Index: 4 && Content-Length: 84 && Content-Type: application/json
HEAD /b => 404 X-Etcd-Index: 4
HEAD /a?wait=true => 400

== R-23 K-31: the path is decoded
PUT /a%2Fb | value=1 => 201 "key":"/a/b"
PUT /v2%2Fkeys%2Fz => 201 "key":"/z"
GET !/v2%2Fkeys%2Fa%2Fb => 200 "key":"/a/b"
PUT /a%20b | value=1 => 201 "key":"/a b"
PUT /%e6%97%a5 | value=1 => 201 "key":"/日"
PUT /x%00%3f | value=1 => 201 "key":"/x\u0000?"

== R-24 K-02: no path leads out of the keys
GET /../2/enabled => 301 Location: /v2/2/enabled
GET /%2e%2e/2/enabled => 301 Location: /v2/2/enabled
GET /a//b?x=1 => 301 Location: /v2/keys/a/b?x=1
GET /a/./b => 301 Location: /v2/keys/a/b
GET /v2/2/enabled => 404 =404 page not found\n

== R-25: one slash at the end
PUT /a/b/ | value=1 => 201 "key":"/a/b"
GET /a/b/ => 200 "key":"/a/b"
GET / => 200 ={"action":"get","node":{"dir":true,"nodes":[{"key":"/a","dir":true,"modifiedIndex":4,"createdIndex":4}]}}\n

== R-40 R-41 R-42 R-43 R-44: headers
PUT /a | value=1 => 201 X-Etcd-Cluster-Id: c1 && X-Etcd-Index: 4 && X-Raft-Index: 4 && X-Raft-Term: 7 && Content-Type: application/json
PUT /b | value=1 => 201 X-Etcd-Index: 5
GET /a => 200 X-Etcd-Index: 5 && X-Etcd-Cluster-Id: c1 && X-Raft-Term: 7
GET /c => 404 X-Etcd-Index: 5 && X-Etcd-Cluster-Id: c1 && X-Raft-Index:  && X-Raft-Term: 
GET /a?dir=no => 400 X-Etcd-Index: 0 && X-Raft-Index: 
GET /v2/members => 200 X-Etcd-Cluster-Id: c1 && X-Etcd-Index:  && Content-Type: application/json
GET /v2/auth/enable => 200 X-Etcd-Cluster-Id: c1
GET /v2/machines => 200 X-Etcd-Cluster-Id:  && X-Etcd-Index: 
GET /v2/stats/store => 200 X-Etcd-Cluster-Id:  && Content-Type: application/json
GET !/version => 200 X-Etcd-Cluster-Id:  && Content-Type: application/json
GET !/health => 200 X-Etcd-Cluster-Id:  && Content-Type: text/plain; charset=utf-8
GET !/debug/vars => 200 Content-Type: application/json; charset=utf-8

== R-50 R-51 R-53: the form of answers
PUT /a | value=1&ttl=5 => 201 ={"action":"set","node":{"key":"/a","value":"1","expiration":"2031-05-04T10:20:35.123456789Z","ttl":5,"modifiedIndex":4,"createdIndex":4}}\n
PUT /a | value=2 => 200 ={"action":"set","node":{"key":"/a","value":"2","modifiedIndex":5,"createdIndex":5},"prevNode":{"key":"/a","value":"1","expiration":"2031-05-04T10:20:35.123456789Z","ttl":5,"modifiedIndex":4,"createdIndex":4}}\n
GET /no => 404 ={"errorCode":100,"message":"Key not found","cause":"/no","index":5}\n
DELETE /?prevValue=x => 403 ={"errorCode":102,"message":"Not a file","index":5}\n
GET /v2/members/x => 404 ={"message":"Not found"}

== R-52: strings are escaped as Go does
PUT /e | value=%3Ca%3E%26%E2%80%A8%E2%80%A9%22%5C%0A%01 => 201 "value":"\u003ca\u003e\u0026\u2028\u2029\"\\\n\u0001"
PUT /e | value=%ff%fe => 200 "value":"\ufffd\ufffd"
PUT /e?prevValue=%ef%bf%bd%ef%bf%bd | value=x => 412
PUT /e?prevValue=%ff%fe | value=x => 200 "action":"compareAndSwap"

== K-01 K-04: keys are leaves, and parents are made by the way
PUT /a/b/c | value=1 => 201
GET /a => 200 ={"action":"get","node":{"key":"/a","dir":true,"nodes":[{"key":"/a/b","dir":true,"modifiedIndex":4,"createdIndex":4}],"modifiedIndex":4,"createdIndex":4}}\n
PUT /a/b/c/d | value=1 => 400 "errorCode":104
PUT /x/y?prevExist=true | value=1 => 404
PUT /x/y?prevIndex=1 | value=1 => 404
DELETE /x/y => 404
GET /x => 404
POST /p/q | value=1 => 201
GET /p => 200 "modifiedIndex":5,"createdIndex":5

== K-03: the root is read only
PUT / | value=x => 400 ={"errorCode":107,"message":"Root is read only","cause":"/","index":3}\n
PUT /?prevExist=false | value=x => 400 "errorCode":107
PUT /?prevExist=true => 400 "errorCode":107
PUT /?prevIndex=1 => 400 "errorCode":107
PUT /?dir=true => 400 "errorCode":107
DELETE /?recursive=true => 400 "errorCode":107
POST / | value=x => 201 "key":"/00000000000000000004"

== K-05 K-06 K-07: indexes
PUT /a | value=1 => 201 "modifiedIndex":4,"createdIndex":4
PUT /a?prevExist=false | value=1 => 412
GET /a => 200 X-Etcd-Index: 4
PUT /a?prevExist=true | value=2 => 200 "modifiedIndex":5,"createdIndex":4
PUT /a?prevValue=2 | value=3 => 200 "modifiedIndex":6,"createdIndex":4
PUT /a | value=3 => 200 "modifiedIndex":7,"createdIndex":7

== K-20 K-21 K-22: hidden nodes
PUT /_h/x | value=1 => 201
PUT /_h/_i | value=1 => 201
PUT /a/_h/x | value=1 => 201
PUT /a/v_ | value=1 => 201
GET /?recursive=true => 200 !_h && "/a/v_"
GET /_h => 200 "/_h/x" && !"/_h/_i"
GET /_h/_i => 200 "value":"1"
DELETE /a/_h/x => 200 "action":"delete"
PUT /_h?prevExist=true => 200

== P-01 P-04 P-06: query and form
PUT /a?value=q => 201 "value":"q"
PUT /a?value=q | value=f => 200 "value":"f"
PUT /a?value=q&value=r | a=1 => 200 "value":"q"
PUT /a?nothing=x&VALUE=y | value=1 => 200 "value":"1"
DELETE /a?prevValue=1 => 200 "action":"compareAndDelete"
DELETE /a => 404

== P-05 P-07: what cannot be decoded, and the index of refusals
PUT /a?value=% => 400 ={"errorCode":210,"message":"Invalid POST form","cause":"invalid URL escape \"%\"","index":0}\n
PUT /a | value=%zz => 400 "cause":"invalid URL escape \"%zz\"" && X-Etcd-Index: 0
GET /a?x=% => 400
GET /a => 404 X-Etcd-Index: 3

== P-34: a semicolon in a query is refused
PUT /a?value=1;x=2 => 400 "errorCode":210,"message":"Invalid POST form","cause":"invalid semicolon separator in query"

== P-11 P-12 P-13 P-14 P-15 P-16 P-17 P-18 P-19 P-20 P-21 P-22 P-23: what is no value
PUT /a?prevIndex=-1 => 400 ={"errorCode":203,"message":"The given index in POST form is not a number","cause":"invalid value for \"prevIndex\"","index":0}\n
PUT /a?prevIndex= => 400 "errorCode":203
PUT /a?prevIndex=18446744073709551616 => 400 "errorCode":203
PUT /a?prevIndex=18446744073709551615 => 404
GET /a?waitIndex=x => 400 "errorCode":203,"message":"The given index in POST form is not a number","cause":"invalid value for \"waitIndex\""
GET /a?recursive=yes => 400 ={"errorCode":209,"message":"Invalid field","cause":"invalid value for \"recursive\"","index":0}\n
GET /a?sorted= => 400 "cause":"invalid value for \"sorted\""
GET /a?wait=2 => 400 "cause":"invalid value for \"wait\""
PUT /a?dir= => 400 "cause":"invalid value for \"dir\""
GET /a?quorum=on => 400 "cause":"invalid value for \"quorum\""
GET /a?stream=x => 400 "cause":"invalid value for \"stream\""
PUT /a?wait=true => 400 "errorCode":209,"message":"Invalid field","cause":"\"wait\" can only be used with GET requests"
PUT /a?prevValue= => 400 ={"errorCode":201,"message":"PrevValue is Required in POST form","cause":"\"prevValue\" cannot be empty","index":0}\n
PUT /a?noValueOnSuccess=x => 400 "cause":"invalid value for \"noValueOnSuccess\""
PUT /a?ttl=-1 => 400 ={"errorCode":202,"message":"The given TTL in POST form is not a number","cause":"invalid value for \"ttl\"","index":0}\n
PUT /a?prevExist=x => 400 "errorCode":209,"message":"Invalid field","cause":"invalid value for prevExist"
PUT /a?refresh=x => 400 "errorCode":209,"message":"Invalid field","cause":"invalid value for refresh"
PUT /a?refresh=true&ttl=1&value=x => 400 ={"errorCode":211,"message":"Value provided on refresh","cause":"A value was provided on a refresh","index":0}\n
PUT /a?refresh=true&ttl= => 400 ={"errorCode":212,"message":"A TTL must be provided on refresh","cause":"No TTL value set","index":0}\n
# the first one counts
PUT /a?refresh=x&prevExist=x&ttl=x&noValueOnSuccess=x&prevValue=&stream=x&quorum=x&dir=x&wait=x&sorted=x&recursive=x&waitIndex=x&prevIndex=x => 400 "prevIndex\""
PUT /a?refresh=x&prevExist=x&ttl=x&noValueOnSuccess=x&prevValue=&stream=x&quorum=x&dir=x&wait=x&sorted=x&recursive=x => 400 "recursive\""
PUT /a?refresh=x&prevExist=x&ttl=x&noValueOnSuccess=x&prevValue= => 400 "errorCode":201
PUT /a?refresh=x&prevExist=x&ttl=x => 400 "errorCode":202
# bools have these names
PUT /b?dir=T => 201 "dir":true
PUT /c?dir=0 => 201 "value":""
GET /?recursive=TRUE&sorted=True&quorum=1 => 200

== P-10: no value is an empty one
PUT /a => 201 "value":""
GET /a => 200 "value":""

== P-30 P-31 P-32 T-01 T-02 T-03 T-09: times to live
PUT /a | value=1&ttl=5 => 201 "expiration":"2031-05-04T10:20:35.123456789Z","ttl":5
tick 1ns
GET /a => 200 "ttl":5
tick 999ms
GET /a => 200 "ttl":5
tick 1ms
GET /a => 200 "ttl":4
PUT /b | value=1&ttl=0 => 201 "expiration":"2031-05-04T10:20:31.12345679Z","m && !"ttl"
GET /b => 200 "value":"1"
tick 0s
GET /b => 404
PUT /c | value=1&ttl=9223372037 => 400 "errorCode":202
PUT /c | value=1&ttl= => 201 !expiration

== K-40 K-41 K-42 K-44 K-45 K-46 K-47 K-48 K-49 K-50 K-51: which operation it is
PUT /a | value=1 => 201 "action":"set"
GET /a => 200 "action":"get"
GET /a?quorum=true&wait=true => 200 "action":"get"
POST /d | value=1 => 201 "action":"create"
PUT /b?prevExist=false&prevValue=x&prevIndex=9&refresh=true&ttl=9 => 201 "action":"create"
PUT /a?prevExist=true&prevIndex=0 | value=2 => 200 "action":"update"
PUT /a?prevExist=true&prevValue=2 | value=3 => 200 "action":"compareAndSwap"
PUT /a?prevValue=3 | value=4 => 200 "action":"compareAndSwap"
PUT /a?prevIndex=0 | value=5 => 200 "action":"set"
DELETE /a?prevIndex=10&recursive=true => 200 "action":"compareAndDelete"
DELETE /d?prevIndex=0&recursive=true => 200 "action":"delete"
GET /a?wait=true&waitIndex=4 => 200 "action":"set"

== K-52 K-53 K-54 K-55 K-57: get
PUT /d/b/x | value=1 => 201
PUT /d/a | value= => 201
PUT /d/c?dir=true&ttl=9 => 201
PUT /d/_h | value=1 => 201
GET /d => 200 "nodes":[{"key":"/d/a","value":"","modifiedIndex":5,"createdIndex":5},{"key":"/d/b","dir":true,"modifiedIndex":4,"createdIndex":4},{"key":"/d/c","dir":true,"expiration":"2031-05-04T10:20:39.123456789Z","ttl":9,"modifiedIndex":6,"createdIndex":6}] && !prevNode
GET /d?recursive=true&sorted=true => 200 {"key":"/d/b","dir":true,"nodes":[{"key":"/d/b/x","value":"1","modifiedIndex":4,"createdIndex":4}],"modifiedIndex":4,"createdIndex":4}
GET /d/c => 200 !nodes
GET / => 200 {"action":"get","node":{"dir":true,"nodes":[ && !"key":"/",
GET /d => 200 X-Etcd-Index: 7

== K-56: what is missing, and what is in the way
PUT /f | value=1 => 201
GET /a/b/c => 404 "cause":"/a","index":4
PUT /a/x | value=1 => 201
GET /a/b/c => 404 "cause":"/a/b","index":5
GET /f/x/y => 400 "errorCode":104,"message":"Not a directory","cause":"/f"

== K-60 K-61 K-62 K-63 K-64 K-65 K-66 T-08: set
PUT /f | value=1 => 201
PUT /f/x/y | value=1 => 400 "errorCode":104,"message":"Not a directory","cause":"/f"
PUT /a/b?refresh=true&ttl=9 => 404 "errorCode":100,"message":"Key not found","cause":"/a"
PUT / | value=1 => 400 "errorCode":107
PUT /d?dir=true => 201
PUT /d | value=1 => 403 "errorCode":102,"message":"Not a file","cause":"/d"
PUT /d?dir=true => 403 "errorCode":102
PUT /d?refresh=true&ttl=9 => 403 "errorCode":102
PUT /f | value=2&ttl=9 => 200 "prevNode":{"key":"/f","value":"1" && "ttl":9
PUT /f | value=3 => 200 "node":{"key":"/f","value":"3","modifiedIndex":7,"createdIndex":7}
PUT /f?dir=true | value=no => 200 "node":{"key":"/f","dir":true,"modifiedIndex":8,"createdIndex":8},"prevNode":{"key":"/f","value":"3"

== K-70 K-71 K-72 K-73: create
PUT /?prevExist=false => 400 "errorCode":107,"message":"Root is read only","cause":"/"
PUT /a?prevExist=false | value=1 => 201 ={"action":"create","node":{"key":"/a","value":"1","modifiedIndex":4,"createdIndex":4}}\n
PUT /a/b?prevExist=false => 400 "errorCode":104
PUT /a?prevExist=false&dir=true => 412 "errorCode":105,"message":"Key already exists","cause":"/a"
PUT /d?prevExist=false&dir=true => 201 "dir":true
PUT /d?prevExist=false => 412

== K-80 K-81 K-82 K-83 K-84: keys in order
POST /q/r | value=a => 201 "key":"/q/r/00000000000000000004","value":"a","modifiedIndex":4,"createdIndex":4 && X-Etcd-Index: 4
PUT /x => 201
POST /q/r | value=b&ttl=9 => 201 "key":"/q/r/00000000000000000006" && "ttl":9
POST /q?dir=true => 201 "key":"/q/00000000000000000007","dir":true
POST /x | value=1 => 400 "errorCode":104,"message":"Not a directory","cause":"/x"
POST /q?prevExist=true&prevValue=x&prevIndex=9&refresh=true&ttl=9 => 201 "action":"create"
POST /q?prevExist=no => 400
POST /q?noValueOnSuccess=true => 201 ={"action":"create"}\n

== K-90 K-91 K-92 K-93 K-94 K-95 T-20 T-21 T-34: update
PUT /?prevExist=true => 400 "errorCode":107
PUT /a?prevExist=true => 404 "errorCode":100,"message":"Key not found","cause":"/a"
PUT /d/k | value=1 => 201 !ttl
GET /d => 200 !ttl
PUT /d?prevExist=true | value=x => 403 "errorCode":102,"message":"Not a file","cause":"/d"
PUT /d?prevExist=true&dir=true | ttl=9 => 200 ={"action":"update","node":{"key":"/d","dir":true,"expiration":"2031-05-04T10:20:39.123456789Z","ttl":9,"modifiedIndex":5,"createdIndex":4},"prevNode":{"key":"/d","dir":true,"modifiedIndex":4,"createdIndex":4}}\n
GET /d => 200 "modifiedIndex":5,"createdIndex":4 && "/d/k"
PUT /d?dir=true&ttl=5 => 403 "errorCode":102
PUT /d?prevExist=true&refresh=true&ttl=20 => 200 "ttl":20
PUT /d?prevExist=true&dir=true&ttl= => 200 "prevNode":{"key":"/d","dir":true,"expiration" && "node":{"key":"/d","dir":true,"modifiedIndex":7
PUT /d/k?prevExist=true&dir=true => 200 "node":{"key":"/d/k","value":"","modifiedIndex":8
PUT /d/k?prevExist=true | value=2&ttl=9 => 200 "ttl":9
PUT /d/k?prevExist=true&refresh=true&ttl=30 => 200 "value":"2" && "ttl":30
PUT /d/k?prevExist=true | value=3 => 200 "node":{"key":"/d/k","value":"3","modifiedIndex":11,"createdIndex":4}

== K-100 K-101 K-102 K-103 K-104 K-105: compare and swap
PUT /?prevIndex=1 => 400 "errorCode":107
PUT /d?dir=true => 201
PUT /d?prevIndex=4 => 403 "errorCode":102,"message":"Not a file","cause":"/d"
PUT /a?prevIndex=4 => 404
PUT /a | value=x&ttl=9 => 201
PUT /a?prevValue=y | value=1 => 412 ={"errorCode":101,"message":"Compare failed","cause":"[y != x]","index":5}\n
PUT /a?prevIndex=4 | value=1 => 412 "cause":"[4 != 5]"
PUT /a?prevIndex=4&prevValue=y | value=1 => 412 "cause":"[y != x] [4 != 5]"
PUT /a?prevIndex=5&prevValue=y | value=1 => 412 "cause":"[y != x]"
PUT /a?prevIndex=4&prevValue=x | value=1 => 412 "cause":"[4 != 5]"
PUT /a?prevValue= | value=1 => 400 "errorCode":201
GET /a => 200 X-Etcd-Index: 5 && "value":"x"
PUT /a?prevIndex=5&prevValue=x | value=1 => 200 ={"action":"compareAndSwap","node":{"key":"/a","value":"1","modifiedIndex":6,"createdIndex":5},"prevNode":{"key":"/a","value":"x","expiration":"2031-05-04T10:20:39.123456789Z","ttl":9,"modifiedIndex":5,"createdIndex":5}}\n

== K-110 K-111 K-112 K-113 K-114 K-115 K-116: delete
DELETE / => 400 "errorCode":107
DELETE /a/b => 404 "cause":"/a"
PUT /a | value=1&ttl=9 => 201
DELETE /a?recursive=true&noValueOnSuccess=true => 200 ={"action":"delete","node":{"key":"/a","modifiedIndex":5,"createdIndex":4},"prevNode":{"key":"/a","value":"1","expiration":"2031-05-04T10:20:39.123456789Z","ttl":9,"modifiedIndex":4,"createdIndex":4}}\n
PUT /d/_h | value=1 => 201
DELETE /d => 403 "errorCode":102,"message":"Not a file","cause":"/d"
DELETE /d?dir=true => 403 "errorCode":108,"message":"Directory not empty","cause":"/d"
DELETE /d?recursive=true => 200 ={"action":"delete","node":{"key":"/d","dir":true,"modifiedIndex":7,"createdIndex":6},"prevNode":{"key":"/d","dir":true,"modifiedIndex":6,"createdIndex":6}}\n
GET /d/_h => 404 X-Etcd-Index: 7
PUT /e?dir=true => 201
DELETE /e?dir=true => 200 "dir":true
# compare and delete
PUT /a | value=1 => 201
DELETE /a?prevValue=2&prevIndex=9 => 412 "cause":"[2 != 1] [9 != 10]"
DELETE /a?prevValue=1&dir=true => 200 ={"action":"compareAndDelete","node":{"key":"/a","modifiedIndex":11,"createdIndex":10},"prevNode":{"key":"/a","value":"1","modifiedIndex":10,"createdIndex":10}}\n

== K-120 K-121: success
PUT /a?noValueOnSuccess=true | value=1 => 201 ={"action":"set"}\n && X-Etcd-Index: 4 && X-Raft-Term: 7
PUT /a?noValueOnSuccess=true | value=1 => 200 ={"action":"set"}\n
PUT /a?noValueOnSuccess=true&prevExist=true | value=1 => 200 ={"action":"update"}\n
PUT /a?noValueOnSuccess=true&prevValue=1 | value=2 => 200 ={"action":"compareAndSwap"}\n
PUT /b?noValueOnSuccess=true&prevExist=false => 201 ={"action":"create"}\n
PUT /b?noValueOnSuccess=true&prevExist=false => 412 "cause":"/b"

== T-04 T-05 T-06 T-07 T-10 K-24: nodes end
PUT /d?dir=true&ttl=9 => 201
PUT /d/x | value=1&ttl=3 => 201
PUT /d/y | value=1&ttl=60 => 201
PUT /b | value=1&ttl=9 => 201
PUT /_h | value=1&ttl=2 => 201
tick 1999ms
GET /_h => 200
tick 1ms
GET /_h => 404 X-Etcd-Index: 9
GET /_h?wait=true&waitIndex=9 => 200 ={"action":"expire","node":{"key":"/_h","modifiedIndex":9,"createdIndex":8},"prevNode":{"key":"/_h","value":"1","expiration":"2031-05-04T10:20:32.123456789Z","modifiedIndex":8,"createdIndex":8}}\n
tick 7s
GET /d => 404 X-Etcd-Index: 12
GET /?wait=true&recursive=true&waitIndex=9 => 200 "action":"expire","node":{"key":"/d/x","modifiedIndex":10,
GET /?wait=true&recursive=true&waitIndex=11 => 200 "node":{"key":"/b","modifiedIndex":11,"createdIndex":7}
GET /d?wait=true&waitIndex=12 => 200 "node":{"key":"/d","dir":true,"modifiedIndex":12,"createdIndex":4},"prevNode":{"key":"/d","dir":true,"expiration":"2031-05-04T10:20:39.123456789Z","modifiedIndex":4
GET /v2/stats/store => 200 "expireCount":4

== T-30 T-31 T-32 T-33: refresh
PUT /a | value=1 => 201
PUT /a?refresh=true&ttl=9&prevExist=true => 200 ={"action":"update","node":{"key":"/a","value":"1","expiration":"2031-05-04T10:20:39.123456789Z","ttl":9,"modifiedIndex":5,"createdIndex":4},"prevNode":{"key":"/a","value":"1","modifiedIndex":4,"createdIndex":4}}\n
PUT /a?refresh=true&ttl=9&prevValue=2 => 412
PUT /a?refresh=true&ttl=9&prevValue=1 => 200 "action":"compareAndSwap","node":{"key":"/a","value":"1"
PUT /a?refresh=true&ttl=9 => 200 "action":"set" && "modifiedIndex":7,"createdIndex":7
PUT /n?refresh=true&ttl=9 => 404
PUT /n?refresh=true&ttl=9&prevExist=false => 201 "action":"create","node":{"key":"/n","value":""
PUT /a?refresh=true | ttl=9&value= => 200
PUT /b | value=1 => 201
GET /a?wait=true&waitIndex=4 => 200 "modifiedIndex":4
GET /?recursive=true&wait=true&waitIndex=5 => 200 "key":"/n"
GET /?recursive=true&wait=true&waitIndex=9 => 200 "key":"/b"
`)
}

// P-02 P-03: a form counts if it is declared as one, and with PUT and POST alone. P-33: an expiration before the year 2000 is none,
// which internal/tree shows with a set whose Expires is 5.
func TestForms(t *testing.T) {
	s := newV2Site(t)
	for _, c := range []struct {
		method, target, kind, body string
		status                     int
		want                       string
	}{
		{"PUT", "/a", "application/x-www-form-urlencoded", "value=1", 201, `"value":"1"`},
		{"PUT", "/a", "application/x-www-form-urlencoded; charset=utf-8", "value=2", 200, `"value":"2"`},
		{"PUT", "/a", "application/x-www-form-urlencoded; param=value", "value=3", 200, `"value":"3"`},
		{"PUT", "/a", "Application/X-WWW-form-urlencoded", "value=4", 200, `"value":"4"`},
		{"PUT", "/a", "", "value=5", 200, `"node":{"key":"/a","value":""`},
		{"PUT", "/a", "application/json", `{"value":"6"}`, 200, `"node":{"key":"/a","value":""`},
		{"PUT", "/a", "multipart/form-data; boundary=x", "value=7", 200, `"node":{"key":"/a","value":""`},
		{"PUT", "/a?value=8", "text/plain", "value=9", 200, `"value":"8"`},
		{"PUT", "/a", "a/b/c", "value=1", 400, `"cause":"mime: unexpected content after media subtype"`},
		{"PUT", "/a", ";", "value=1", 400, `"errorCode":210,"message":"Invalid POST form","cause":"mime: no media type","index":0`},
		{"PUT", "/a?x=%", "application/x-www-form-urlencoded", "value=%zz", 400, `"cause":"invalid URL escape \"%zz\""`},
		{"POST", "/q", "application/x-www-form-urlencoded", "value=1", 201, `"value":"1"`},
		{"DELETE", "/a", "application/x-www-form-urlencoded", "prevValue=no", 200, `"action":"delete"`},
		{"GET", "/q", "application/x-www-form-urlencoded", "dir=no", 200, `"action":"get"`},
	} {
		w := s.send(c.method, "/v2/keys"+c.target, c.kind, c.body)
		if w.Code != c.status || !contains(w.Body.String(), c.want) {
			t.Errorf("%v: %d %s", c, w.Code, w.Body)
		}
	}
}
