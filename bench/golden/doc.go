// Package golden runs one random sequence of requests against cairn and against etcd and compares every answer, field by
// field. What may differ is written down in one table, each line with its reason. The package talks to servers only
// through gRPC: it must never import anything of cairn's inside.
package golden
