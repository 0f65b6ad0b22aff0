# What `describe PROGRAM` says (describe.c), for the makers of completions:
#
#   awk -f program.awk -f SHELL.awk DESCRIPTION SHELL.in > COMPLETION
#
# SHELL.in comes out with @NAME@ as the program's name, and for the line @DATA@ what put_data() of SHELL.awk makes of:
#   program, command[1 .. commands], words[COMMAND], about[COMMAND],
#   option[1 .. options], of_command[N] ("": of every command), letter[N], value[N] ("": a flag), repeats[N], help[N]

BEGIN { FS = "\t" }

FILENAME == ARGV[1] {
	if ($1 == "program") {
		program = $2
	} else if ($1 == "command") {
		command[++commands] = $2
		words[$2] = $3
		about[$2] = $4
	} else if ($1 == "option") {
		of_command[++options] = $2
		option[options] = $3
		letter[options] = $4
		value[options] = $5
		repeats[options] = $6 != ""
		help[options] = $7
	}
	next
}

/^@DATA@$/ { put_data(); next }

{ gsub(/@NAME@/, program); print }

# What can stand for a value of this name: file, dir, a kind of `weirctl names`, "=" and words, or "text" where nobody can tell.
function kind_of(name)
{
	gsub(/[][]/, "", name)
	sub(/\.\.\.$/, "", name)
	if (name == "FILE" || name == "PATH")
		return "file"
	if (name == "DIR")
		return "dir"
	if (name == "NODE")
		return program == "edged" ? "edges" : program == "cloudd" ? "clouds" : "nodes"
	if (name ~ /^(STREAM|EDGE|CLOUD|SINK)$/)
		return tolower(name) "s"
	if (name !~ /^[a-z|]+$/)
		return "text"
	gsub(/\|/, " ", name)
	return "=" name
}

# The first words of commands of two, once each: sets head[1 .. heads]; next_words[HEAD] are the second ones.
function find_heads(    i, at, first)
{
	for (i = 1; i <= commands; i++) {
		at = index(command[i], " ")
		first = at ? substr(command[i], 1, at - 1) : command[i]
		if (at && !(first in next_words))
			head[++heads] = first
		if (at)
			next_words[first] = next_words[first] (next_words[first] == "" ? "" : " ") substr(command[i], at + 1)
		if (!(first in seen))
			first_words = first_words (first_words == "" ? "" : " ") first
		seen[first] = 1
	}
}

# A text within '...' of a shell.
function quoted(text)
{
	gsub(/'/, "'\\''", text)
	return "'" text "'"
}
