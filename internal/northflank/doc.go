// Package northflank answers: how is the Northflank API called. It holds the
// request and response types, the client and the account's request budget. It
// decides nothing about flow runs and imports nothing of Prefect.
package northflank
