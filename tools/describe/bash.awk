# The data of a completion for bash: functions that set REPLY (program.awk).

function put_case(pattern, reply)
{
	print "\t" pattern ") REPLY=" quoted(reply) " ;;"
}

function names_of(i)
{
	return option[i] (letter[i] != "" ? " " letter[i] : "")
}

function options_of(name,    i, all)
{
	for (i = 1; i <= options; i++) {
		if (of_command[i] == name)
			all = all " " option[i]
	}
	return substr(all, 2)
}

function put_options(    i)
{
	print "_" program "_options() # COMMAND\n{\n\tcase $1 in"
	for (i = 1; i <= commands; i++) {
		if (options_of(command[i]) != "")
			put_case(quoted(command[i]), options_of(command[i]) " ")
	}
	put_case("*", "")
	print "\tesac\n\tREPLY+=" quoted(options_of("")) "\n}\n"
}

function put_values(    i, pass)
{
	print "_" program "_value() # COMMAND OPTION: nothing for a flag\n{\n\tcase \"$1 $2\" in"
	for (pass = 0; pass < 2; pass++) {
		for (i = 1; i <= options; i++) {
			if (value[i] == "" || (of_command[i] == "") != pass)
				continue
			at = of_command[i] == "" ? "*" : ""
			put_case(at quoted(of_command[i] " " option[i]) (letter[i] == "" ? "" : " | " at quoted(of_command[i] " " letter[i])),
			    kind_of(value[i]))
		}
	}
	put_case("*", "")
	print "\tesac\n}\n"
}

function put_words(    i, n, k, word)
{
	print "_" program "_word() # COMMAND NUMBER: of the words behind it, from 1\n{\n\tcase \"$1 $2\" in"
	for (i = 1; i <= commands; i++) {
		n = split(words[command[i]], word, " ")
		for (k = 1; k <= n; k++)
			put_case(quoted(command[i] " ") (word[k] ~ /\.\.\./ ? "*" : k), kind_of(word[k]))
	}
	put_case("*", "")
	print "\tesac\n}\n"
}

function put_data(    i)
{
	find_heads()
	put_options()
	put_values()
	put_words()
	print "_" program "_next() # FIRST-WORD or nothing: the words that make a command of it\n{\n\tcase $1 in"
	for (i = 1; i <= heads; i++)
		put_case(head[i], next_words[head[i]])
	put_case("''", first_words)
	put_case("*", "")
	print "\tesac\n}"
}
