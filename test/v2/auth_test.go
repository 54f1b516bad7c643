package v2

import "testing"

// The example of section 10 of v2-etcdctl.md.
func TestUsersAndRoles(t *testing.T) {
	t.Parallel()
	c := newTool(t, start(t))
	c.story([]step{
		{"auth enable", result{err: "auth: No root user available, please create one\n", code: 1}},
		{"user add root:rootpw", out("User root created\n")},
		{"auth enable", out("Authentication Enabled\n")},
		{"-u root:rootpw role add app", out("Role app created\n")},
		{"-u root:rootpw role add app", result{err: "Role app already exists\n", code: 1}},
		{"-u root:rootpw role grant app --path '/app/*' --readwrite", out("Role app updated\n")},
		{"-u root:rootpw role get app", out("Role: app\nKV Read:\n\t/app/*\nKV Write:\n\t/app/*\n")},
		{"-u root:rootpw user add alice:pw", out("User alice created\n")},
		{"-u root:rootpw user grant alice --roles app", out("User alice updated\n")},
		{"-u root:rootpw user grant alice --roles app", result{err: "auth: Granting duplicate role app for user alice\n", code: 1}},
		{"-u root:rootpw user get alice", out("User: alice\nRoles: app\n")},
		{"-u root:rootpw role revoke guest --path '/*' --rw", out("Role guest updated\n")},
		{"set /app/x 1", refused("110: The request requires user authentication (Insufficient credentials) [0]")},
		{"-u alice:pw set /app/x 1", out("1\n")},
		{"-u alice:pw set /other 1", refused("110: The request requires user authentication (Insufficient credentials) [0]")},
		{"-u alice:wrong get /app/x", refused("110: The request requires user authentication (Insufficient credentials) [0]")},
		{"-u alice:pw user list", result{err: "Insufficient credentials\n", code: 1}},
		{"member add x http://127.0.0.1:1", result{err: "Insufficient credentials\n", code: 1}},
		{`-u root:rootpw user passwd alice <<< newpw\n`, out("New password: \nPassword updated\n")},
		{`-u alice get /app/x <<< newpw\n`, out("Password: \n1\n")},
		{`-u root user add bob <<< rootpw\nbobpw\n`, out("Password: \nNew password: \nUser bob created\n")},
		{"-u root:rootpw user remove bob", out("User bob removed\n")},
		{"-u root:rootpw user passwd bob", result{err: "auth: User bob does not exist.\n", code: 1}},
		{"-u root:rootpw auth disable", out("Authentication Disabled\n")},
		{"user remove alice", out("User alice removed\n")},
		{"role remove app", out("Role app removed\n")},
		{"role list", out("guest\nroot\n")},
		{"user list", out("root\n")},
	})
}
